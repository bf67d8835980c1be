//! What is expected of an answer or a push, and what is kept of it.

use serde_json::Value;

use super::{
    expression::Expression,
    value::{Storage, Template, Type},
};
use crate::compare::{Op, shortened};

/// All that is to be done with an answer.
#[derive(Debug, Default)]
pub(super) struct Check {
    pub(super) expect: Vec<Expectation>,
    pub(super) store: Vec<Keep>,
}

impl Check {
    /// Whether the answer is looked at at all.
    pub(super) fn is_empty(&self) -> bool {
        self.expect.is_empty() && self.store.is_empty()
    }

    pub(super) fn apply(&self, answer: &Value, storage: &Storage) -> Result<(), String> {
        self.expect.iter().try_for_each(|expectation| expectation.test(answer, storage))?;
        self.store.iter().try_for_each(|keep| keep.apply(answer, storage))
    }
}

/// One of `expect`.
#[derive(Debug)]
pub(super) struct Expectation {
    pub(super) expression: Expression,
    pub(super) op: Op,
    /// What both sides must be of.
    pub(super) kind: Option<Type>,
    pub(super) operand: Template,
}

impl Expectation {
    fn test(&self, answer: &Value, storage: &Storage) -> Result<(), String> {
        let Self { expression, op, kind, operand } = self;
        if !op.has_operand() {
            let is_there = expression.exists(answer);
            let passes = is_there == (*op == Op::Exists);
            let told = if is_there { "it is there" } else { "it is not" };
            return if passes {
                Ok(())
            } else {
                Err(format!("expected {expression} {}, but {told} in {}", op.name(), shortened(answer)))
            };
        }
        let operand = operand.build(storage)?;
        let expected = format!("expected {expression} {} {}", op.name(), shortened(&operand));
        let missing = |why| format!("{expected}, but {why} in {}", shortened(answer));
        let found = expression.find(answer).map_err(missing)?;
        // What contains something is of another type than that.
        let kind = kind.filter(|_| *op != Op::Contains);
        let found = match kind.map_or_else(|| Ok(found.clone()), |kind| kind.cast(found)) {
            Ok(found) => found,
            Err(why) => return Err(format!("{expected}, but {why}")),
        };
        if op.compare(&found, &operand) { Ok(()) } else { Err(format!("{expected}, but it is {}", shortened(&found))) }
    }
}

/// One of `store`.
#[derive(Debug)]
pub(super) struct Keep {
    pub(super) key: String,
    pub(super) kind: Type,
    pub(super) expression: Expression,
}

impl Keep {
    fn apply(&self, answer: &Value, storage: &Storage) -> Result<(), String> {
        let Self { key, kind, expression } = self;
        let wrong = |why| format!("`{key}` cannot be stored from {expression}: {why} in {}", shortened(answer));
        let found = expression.find(answer).map_err(wrong)?;
        let found = kind.cast(found).map_err(|why| format!("`{key}` cannot be stored from {expression}: {why}"))?;
        storage.set(key, found);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expectation(expression: &str, op: &str, kind: &str, value: Value) -> Expectation {
        let kind = Some(kind).filter(|kind| !kind.is_empty()).map(|kind| Type::parse(kind).unwrap());
        Expectation {
            expression: Expression::parse(expression),
            op: Op::parse(op).unwrap(),
            kind,
            operand: Template::plain(&value, kind).unwrap(),
        }
    }

    #[test]
    fn expectations() {
        let storage = Storage::default();
        storage.set("token", json!("t"));
        let answer =
            json!({"code": "200", "port": 9090.7, "token": "t", "items": [1, 2], "error": null, "user": {"a": 1}});
        for (expression, op, kind, value, passes) in [
            ("$response.code", "==", "string", json!("200"), true),
            ("$response.code", "==", "int", json!(200), false),
            ("$response.code", "!=", "string", json!("500"), true),
            ("$response.port", "==", "int", json!(9090), true),
            ("$response.port", "==", "int", json!(9090.1), true),
            ("$response.port", "==", "float", json!(9090.7), true),
            ("$response.port", ">", "int", json!(9000), true),
            ("$response.port", "<=", "float", json!(9090.5), false),
            ("$response.token", "==", "string", json!("$store.token"), true),
            ("$response.code", "==", "string", json!("$store.token"), false),
            ("$response.error", "==", "<nil>", json!(null), true),
            ("$response.items", "contains", "int", json!(2), true),
            ("$response.code", "contains", "string", json!("00"), true),
            ("$response.code", "contains", "", json!("3"), false),
            ("$response.user", "==", "object", json!({"a": 1}), true),
            ("$response.user", "exists", "", json!(null), true),
            ("$response.nobody", "exists", "", json!(null), false),
            ("$response.nobody", "missing", "", json!(null), true),
        ] {
            let result = expectation(expression, op, kind, value.clone()).test(&answer, &storage);
            assert_eq!(result.is_ok(), passes, "{expression} {op} {kind} {value}: {result:?}");
        }
    }

    #[test]
    fn says_what_was_expected_and_what_came() {
        let storage = Storage::default();
        let answer = json!({"code": 500});
        for (expression, op, kind, value, why) in [
            ("$response.code", "==", "int", json!(200), "expected $response.code == 200, but it is 500"),
            (
                "$response.code",
                "==",
                "string",
                json!("200"),
                "expected $response.code == \"200\", but 500 is no string",
            ),
            (
                "$response.msg",
                "==",
                "string",
                json!("x"),
                "expected $response.msg == \"x\", but there is no `msg` in {\"code\":500}",
            ),
            (
                "$response.msg",
                "exists",
                "",
                json!(null),
                "expected $response.msg exists, but it is not in {\"code\":500}",
            ),
            ("$response.code", "==", "int", json!("$store.x"), "nothing is stored as `x`"),
        ] {
            assert_eq!(expectation(expression, op, kind, value).test(&answer, &storage), Err(why.to_owned()));
        }
        let keep =
            |expression: &str| Keep { key: "k".to_owned(), kind: Type::Int, expression: Expression::parse(expression) };
        keep("$response.code").apply(&answer, &storage).unwrap();
        assert_eq!(storage.get("k"), Ok(json!(500)));
        let error = keep("literal").apply(&answer, &storage).unwrap_err();
        assert_eq!(error, "`k` cannot be stored from literal: there is no `literal` in {\"code\":500}");
    }
}
