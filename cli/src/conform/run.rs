//! Runs checks, and gathers what they found.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cereus_client::HandshakeResponse;

use super::{
    check::{Check, Risk},
    offer::{Family, Offer},
    probe::Probe,
    progress::Progress,
    report::{Report, Row},
    verdict::{Stop, Verdict, fail, skip, warn},
    wire::Target,
};
use crate::failure::Failure;

/// So many checks that do no harm run at once.
const ABREAST: usize = 8;

/// How long a server may take to be there again after a check.
const RECOVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) target: &'a Target,
    pub(super) offer: &'a Offer,
    pub(super) slow: bool,
    pub(super) progress: &'a Progress,
}

impl Run<'_> {
    /// Runs these checks; the rows of the report are in their order.
    pub(super) fn all(&self, checks: &[&'static Check]) -> Result<Report, Failure> {
        let start = Instant::now();
        let date = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let welcome = self.learn()?;
        let mut rows = self.abreast(checks, welcome.as_ref());
        for risk in [Risk::Hostile, Risk::Deadly] {
            self.one_by_one(checks, risk, welcome.as_ref(), &mut rows);
        }
        rows.sort_by_key(|(index, _)| *index);
        let rows = rows.into_iter().map(|(_, row)| row).collect();
        Ok(Report::new(self.target, self.offer.family, date, start.elapsed(), rows))
    }

    /// What the server tells about itself; nothing if that cannot be read.
    fn learn(&self) -> Result<Option<HandshakeResponse>, Failure> {
        let probe = Probe::new(self.target, self.offer, None, self.slow);
        let unreachable =
            |stop: Stop| Failure::Failed(format!("{} cannot be reached: {}", self.target.address, stop.reason));
        let mut peer = probe.connect().map_err(unreachable)?;
        Ok(probe
            .shake(&mut peer, probe.handshake().as_bytes())
            .ok()
            .filter(|reply| reply.code == HandshakeResponse::OK))
    }

    /// Those that do no harm, several at once.
    fn abreast(&self, checks: &[&'static Check], welcome: Option<&HandshakeResponse>) -> Vec<(usize, Row)> {
        let harmless: Vec<_> = checks.iter().enumerate().filter(|(_, check)| check.risk == Risk::None).collect();
        let next = AtomicUsize::new(0);
        let rows = Mutex::new(Vec::new());
        let work = || {
            while let Some((index, check)) = harmless.get(next.fetch_add(1, Ordering::Relaxed)) {
                let row = self.one(check, welcome);
                rows.lock().unwrap_or_else(PoisonError::into_inner).push((*index, row));
            }
        };
        thread::scope(|scope| {
            for _ in 0..ABREAST.min(harmless.len()) {
                scope.spawn(work);
            }
        });
        rows.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that may do harm, and whether they did. After one that ended the server there is nothing to be checked.
    fn one_by_one(
        &self,
        checks: &[&'static Check],
        risk: Risk,
        welcome: Option<&HandshakeResponse>,
        rows: &mut Vec<(usize, Row)>,
    ) {
        for (index, check) in checks.iter().enumerate().filter(|(_, check)| check.risk == risk) {
            let row = match rows.iter().find(|(_, row)| row.ended_server) {
                Some((_, culprit)) => {
                    let reason = format!("the server no longer served anybody after {}", culprit.id);
                    self.progress.done(check.id);
                    Row::new(check, Err(skip(reason)), 0.0, Vec::new())
                }
                None => self.alone(check, welcome),
            };
            rows.push((index, row));
        }
    }

    /// Runs a check that may do harm, and looks after the server.
    fn alone(&self, check: &'static Check, welcome: Option<&HandshakeResponse>) -> Row {
        let watch = Probe::new(self.target, self.offer, welcome, self.slow);
        let bystander = watch.greet();
        let start = Instant::now();
        let row = self.one(check, welcome);
        if row.verdict == Verdict::Skipped {
            return row;
        }
        // One that was silent for longer is left by right.
        let patience = watch.heartbeat() * 3 / 2;
        if let Some(stop) = self.harm(&watch, check.risk) {
            return row.or(stop).ended();
        }
        match bystander {
            Ok(mut peer) if patience.is_zero() || start.elapsed() < patience => match watch.works_if_offered(&mut peer)
            {
                Err(stop) => {
                    row.or(fail(format!("after it a client that was there before was not served: {}", stop.reason)))
                }
                Ok(()) => row,
            },
            _ => row,
        }
    }

    /// Whether the server serves no new clients any more: what the check gets then.
    fn harm(&self, probe: &Probe<'_>, risk: Risk) -> Option<Stop> {
        let until = Instant::now() + RECOVERY;
        loop {
            let Err(stop) = probe.is_alive() else { return None };
            if Instant::now() < until {
                thread::sleep(Duration::from_millis(100));
                continue;
            }
            let what = format!("after it the server served no new client: {}", stop.reason);
            return Some(match (risk, self.offer.family) {
                (Risk::Deadly, Family::Pitaya) => warn(format!("{what}; known of Pitaya, whose process ends")),
                _ => fail(what),
            });
        }
    }

    fn one(&self, check: &'static Check, welcome: Option<&HandshakeResponse>) -> Row {
        let probe = Probe::new(self.target, self.offer, welcome, self.slow);
        self.progress.begin(check.id);
        let found = check.run(&probe);
        self.progress.done(check.id);
        Row::new(check, found, probe.trace.seconds(), probe.trace.entries())
    }
}
