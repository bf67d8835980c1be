//! What somebody may have meant.

/// The one of these that is most like a name, in whatever letter case, if one is like it. What is one of them was meant.
pub(super) fn near(name: &str, known: &[&'static str]) -> Option<&'static str> {
    let name = name.to_lowercase();
    let (distance, near) = known.iter().map(|known| (distance(&name, &known.to_lowercase()), *known)).min()?;
    (1..=name.len() / 3).contains(&distance).then_some(near)
}

/// A question for whoever wrote this name; nothing when none is like it.
pub(super) fn did_you_mean(name: &str, known: &[&'static str]) -> String {
    near(name, known).map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default()
}

/// How many letters are to be put in, taken out or changed to make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.bytes().enumerate() {
        let mut before = i;
        row[0] = i + 1;
        for (j, b) in b.bytes().enumerate() {
            let changed = before + usize::from(a != b);
            before = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(before + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_that_is_near() {
        for (name, found) in [
            ("expects", Some("expect")),
            ("Exepct", Some("expect")),
            ("timeuot", Some("timeout")),
            ("comment", None),
            ("Expect", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(near(name, &["timeout", "expect"]), found, "{name}");
        }
        assert_eq!(near("x", &[]), None);
    }
}
