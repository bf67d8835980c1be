//! Every order in which threads can meet where they synchronise by our own hand, and every value that they may then read:
//! `bash .ci/loom`. A thread that sleeps for ever is found as a deadlock.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        // Not loom's: what is checked must not be synchronised by the check.
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use cereus_core::Route;
use loom::{
    future::block_on,
    thread::{self, JoinHandle},
};

use crate::{
    App, PushError, Server, Session,
    limits::{Admitted, Budget, Refusal},
    mailbox::{Letter, Mailbox},
    push::Content,
};

mod still;

pub(crate) use still::Still;

/// How often a thread may be interrupted where it would not wait by itself. More finds nothing more, and takes hours.
const PREEMPTIONS: usize = 2;

/// In words. What loom gives a thread by itself is not enough to build a server.
const STACK: usize = 32 << 10;

pub(crate) fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(PREEMPTIONS);
    let model = Arc::new(model);
    builder.check(move || {
        let model = Arc::clone(&model);
        spawn(move || model()).join().unwrap();
    });
}

pub(crate) fn spawn<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    thread::Builder::new().stack_size(STACK).spawn(run).unwrap()
}

pub(crate) fn on_thread<O: Send + Sync + 'static, T: Send + 'static>(
    of: &Arc<O>,
    run: impl FnOnce(&O) -> T + Send + 'static,
) -> JoinHandle<T> {
    let of = Arc::clone(of);
    spawn(move || run(&of))
}

/// A mailbox, and the budget that it shares with others.
struct Post {
    mailbox: Mailbox,
    budget: Budget,
    max_bytes: usize,
}

impl Post {
    fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self { mailbox: Mailbox::default(), budget: Budget::new(usize::MAX), max_bytes })
    }

    fn push(&self, name: char) -> Result<(), PushError> {
        self.mailbox.push(letter(name), self.max_bytes, &self.budget)
    }

    fn push_wait(&self, name: char) -> Result<(), PushError> {
        block_on(self.mailbox.push_wait(letter(name), self.max_bytes, &self.budget))
    }

    /// What a driver does: it sleeps until there is mail, and sends it at once, until there were so many letters.
    fn drive(&self, count: usize) -> String {
        let (mut sent, mut registered) = (String::new(), false);
        block_on(poll_fn(|cx| {
            if !std::mem::replace(&mut registered, true) {
                self.mailbox.set_driver(cx.waker());
            }
            if let Some(letters) = self.mailbox.take(&self.budget) {
                letters.for_each(|letter| sent.push(name_of(&letter)));
            }
            // What a handler pushed goes out before its answer.
            if let Some(pushes) = self.mailbox.take_pushes(&self.budget) {
                pushes.for_each(|letter| sent.push(name_of(&letter)));
            }
            if self.mailbox.is_untold() {
                self.mailbox.set_in_connection(0);
            }
            if sent.len() < count { Poll::Pending } else { Poll::Ready(()) }
        }));
        sent
    }
}

fn letter(name: char) -> Letter {
    Letter::Push(Route::from_static("r"), Content { body: name.to_string().into(), on_full: None })
}

fn name_of(letter: &Letter) -> char {
    match letter {
        Letter::Push(_, content) => content.body[0].into(),
        Letter::Kick(_) => 'K',
        Letter::Close => 'C',
        Letter::Encoded(_) | Letter::Drain => unreachable!("nobody sent it"),
    }
}

#[test]
fn letters_are_sent_once_in_their_order() {
    check(|| {
        let post = Post::new(usize::MAX);
        let two = on_thread(&post, |post| assert_eq!((post.push('a'), post.push('b')), (Ok(()), Ok(()))));
        let one = on_thread(&post, |post| assert_eq!(post.push('x'), Ok(())));
        let sent = post.drive(3);
        assert!(["abx", "axb", "xab"].contains(&&*sent), "{sent}");
        two.join().unwrap();
        one.join().unwrap();
        assert_eq!(post.budget.held(), 0);
        assert!(post.mailbox.take(&post.budget).is_none());
    });
}

#[test]
fn a_command_is_sent_beside_pushes_and_other_commands() {
    check(|| {
        let post = Post::new(usize::MAX);
        let pusher = on_thread(&post, |post| assert_eq!(post.push('a'), Ok(())));
        let kicker = on_thread(&post, |post| {
            post.mailbox.command(Letter::Kick(None));
            post.mailbox.command(Letter::Close);
        });
        let sent = post.drive(3);
        assert!(["aKC", "KaC", "KCa"].contains(&&*sent), "{sent}");
        pusher.join().unwrap();
        kicker.join().unwrap();
    });
}

#[test]
fn who_waits_for_room_gets_it() {
    check(|| {
        // There is room for one.
        let post = Post::new(1);
        let first = on_thread(&post, |post| assert_eq!(post.push_wait('a'), Ok(())));
        let second = on_thread(&post, |post| assert_eq!(post.push_wait('b'), Ok(())));
        let sent = post.drive(2);
        assert!(["ab", "ba"].contains(&&*sent), "{sent}");
        first.join().unwrap();
        second.join().unwrap();
        assert_eq!(post.budget.held(), 0);
    });
}

#[test]
fn the_end_wakes_who_waits_for_room() {
    check(|| {
        let post = Post::new(1);
        post.push('a').unwrap();
        let waiting = on_thread(&post, |post| assert_eq!(post.push_wait('b'), Err(PushError::Closed)));
        post.mailbox.close(&post.budget);
        waiting.join().unwrap();
        assert_eq!(post.push('c'), Err(PushError::Closed));
    });
}

#[test]
fn the_budget_gets_everything_back() {
    check(|| {
        let post = Post::new(usize::MAX);
        // The second is counted, unless the first was taken meanwhile.
        let pusher = on_thread(&post, |post| drop((post.push('a'), post.push('b'))));
        let driver = on_thread(&post, |post| drop(post.mailbox.take(&post.budget)));
        post.mailbox.close(&post.budget);
        pusher.join().unwrap();
        driver.join().unwrap();
        assert_eq!(post.budget.held(), 0);
    });
}

fn server(app: impl FnOnce(App<()>) -> App<()>) -> Server {
    app(App::new(())).build().unwrap()
}

fn session(server: &Server) -> Arc<Session> {
    Arc::new(server.sessions().create(([127, 0, 0, 1], 1).into(), server.clone()))
}

#[test]
fn of_two_sessions_one_gets_the_name() {
    check(|| {
        let server = server(|app| app);
        let (one, other) = (session(&server), session(&server));
        let bound = on_thread(&one, |one| block_on(one.try_bind("ada")).unwrap());
        let other_bound = block_on(other.try_bind("ada")).unwrap();
        let bound = bound.join().unwrap();
        assert!(bound != other_bound, "{bound} and {other_bound}");
        let found = server.sessions().by_uid("ada").unwrap();
        assert_eq!(found, if bound { (*one).clone() } else { (*other).clone() });
        let loser = if bound { &other } else { &one };
        assert_eq!(loser.uid(), None);
    });
}

#[test]
fn who_has_ended_is_not_found() {
    check(|| {
        let server = server(|app| app);
        let session = session(&server);
        let binding = on_thread(&session, |session| drop(block_on(session.bind("ada"))));
        server.sessions().remove(&session);
        assert_eq!(server.sessions().by_id(session.id()), None);
        binding.join().unwrap();
        assert_eq!(server.sessions().by_uid("ada"), None);
        assert_eq!(server.sessions().count(), 0);
    });
}

#[test]
fn what_is_to_run_at_the_end_runs_or_is_refused() {
    check(|| {
        let server = server(|app| app);
        let session = session(&server);
        let ran = Arc::new(AtomicUsize::new(0));
        let runs = Arc::clone(&ran);
        let adding = on_thread(&session, move |session| {
            let run = move || async move {
                runs.fetch_add(1, Ordering::SeqCst);
            };
            block_on(session.on_close(run)).is_ok()
        });
        server.sessions().remove(&session);
        block_on(server.after_close((*session).clone()));
        let added = adding.join().unwrap();
        assert_eq!(ran.load(Ordering::SeqCst), usize::from(added));
    });
}

#[test]
fn who_took_a_name_over_keeps_it() {
    check(|| {
        let server = server(|app| app);
        let (older, newer) = (session(&server), session(&server));
        block_on(older.bind("ada")).unwrap();
        let ending = on_thread(&older, |older| older.server().sessions().remove(older));
        block_on(newer.bind("ada")).unwrap();
        ending.join().unwrap();
        assert_eq!(server.sessions().by_uid("ada").as_ref(), Some(&*newer));
    });
}

/// Comes, is counted, holds something, and goes.
fn arrive(server: &Server, inside: &AtomicUsize) -> Result<(), Refusal> {
    let mut admitted = Admitted::new(server)?;
    admitted.comes_from(([127, 0, 0, 1], 1).into())?;
    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
    admitted.authenticated();
    admitted.holds(1 << 20);
    inside.fetch_sub(1, Ordering::SeqCst);
    Ok(())
}

fn check_admission(limit: fn(App<()>) -> App<()>, refusal: Refusal) {
    check(move || {
        let server = server(limit);
        let inside = Arc::new(AtomicUsize::new(0));
        let arriving = server.clone();
        let other = on_thread(&inside, move |inside| arrive(&arriving, inside));
        for arrived in [arrive(&server, &inside), other.join().unwrap()] {
            assert!([Ok(()), Err(refusal)].contains(&arrived), "{arrived:?}");
        }
        // All of it was given back.
        assert_eq!(server.budget().held(), 0);
        assert_eq!(arrive(&server, &inside), Ok(()));
    });
}

#[test]
fn no_more_are_let_in_than_allowed() {
    check_admission(|app| app.max_connections(1), Refusal::Connections);
}

#[test]
fn no_more_are_let_in_from_one_address_than_allowed() {
    check_admission(|app| app.max_connections_per_address(1), Refusal::Address);
}

#[test]
fn who_drains_sees_the_last_session_end() {
    check(|| {
        let server = server(|app| app);
        let last = session(&server);
        let ending = on_thread(&last, |last| last.server().sessions().remove(last));
        server.drain();
        block_on(server.all_sessions_ended());
        ending.join().unwrap();
    });
}

#[test]
fn who_waits_for_the_stop_sees_it() {
    check(|| {
        let server = server(|app| app);
        let waiting = server.clone();
        let waiting = spawn(move || block_on(waiting.stopping()));
        server.shutdown();
        waiting.join().unwrap();
    });
}

#[test]
fn who_stops_sees_the_last_task_end() {
    check(|| {
        let server = server(|app| app);
        let tasks = [server.task(), server.task()].map(|task| spawn(move || drop(task)));
        block_on(server.all_tasks_ended());
        for task in tasks {
            task.join().unwrap();
        }
    });
}
