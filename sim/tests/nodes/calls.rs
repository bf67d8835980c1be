use std::time::Duration;

use cereus_cluster::{BusEvent, CallError, ClusterEvent, Kind};
use cereus_sim::{
    nodes::{BusFaults, Callees, World},
    seeds,
};

use super::support::{MILLI, SECOND, count, error, is_answered, with, world};

#[test]
fn a_call_across_a_partition_ends_at_its_deadline() {
    let mut world = world(1);
    world.cut(&["g1"], &["r1"]);
    let start = world.now();
    let call = world.call("g1", "r1", 3 * SECOND);
    world.advance(5 * SECOND);
    assert_eq!((error(&world, call), world.ended_at(call)), (Some(CallError::Timeout), Some(start + 3 * SECOND)));
    world.mend();
    let call = world.call("g1", "r1", SECOND);
    world.advance(SECOND);
    assert!(is_answered(&world, call));
    // What the registry says is another matter.
    assert_eq!(world.table("g1"), ["g1", "r1"]);
}

#[test]
fn a_call_whose_answer_is_lost_ends_at_its_deadline() {
    let mut world = world(1);
    world.set_callees(Callees::default().after(SECOND..=SECOND));
    let call = world.call("g1", "r1", 3 * SECOND);
    world.run_until(|world| world.delivered() == 1);
    world.cut(&["g1"], &["r1"]);
    world.advance(5 * SECOND);
    assert_eq!(error(&world, call), Some(CallError::Timeout));
}

#[test]
fn requests_and_answers_that_come_twice_end_a_call_once() {
    seeds(20, |seed| {
        let mut world = world(seed);
        world.set_bus(BusFaults::default().repeat(1));
        let call = world.call("g1", "r1", SECOND);
        world.advance(SECOND);
        assert!(is_answered(&world, call));
        assert_eq!(count(&world, "g1", |event| matches!(event, ClusterEvent::Finished { .. })), 1);
        let stats = world.node("g1").call_stats();
        assert_eq!((stats.answered, stats.duplicate, world.delivered()), (1, 3, 2));
    });
}

#[test]
fn a_callee_that_answers_twice_answers_once() {
    let mut world = world(1);
    world.set_callees(Callees::default().twice(1).after(MILLI..=20 * MILLI));
    let calls: Vec<_> = (0..10).map(|_| world.call("g1", "r1", SECOND)).collect();
    world.advance(SECOND);
    assert!(calls.iter().all(|call| is_answered(&world, *call)));
    let stats = world.node("g1").call_stats();
    assert_eq!((stats.answered, stats.duplicate + stats.late), (10, 10));
}

#[test]
fn a_late_answer_reaches_nobody_and_is_counted() {
    let mut world = world(1);
    world.set_callees(Callees::default().after(2 * SECOND..=2 * SECOND));
    let call = world.call("g1", "r1", SECOND);
    world.advance(3 * SECOND);
    assert_eq!(error(&world, call), Some(CallError::Timeout));
    assert_eq!(world.node("g1").call_stats().late, 1);
}

#[test]
fn an_answer_does_not_reach_the_next_call_in_the_same_slot() {
    let mut world = with(1, |config| config.max_calls = 1);
    world.set_callees(Callees::default().after(SECOND..=SECOND));
    let first = world.call("g1", "r1", SECOND / 2);
    world.advance(SECOND / 2);
    let second = world.call("g1", "r1", 2 * SECOND);
    assert_eq!(world.try_call("g1", "r1", SECOND, 0), Err(CallError::TooMany));
    world.advance(3 * SECOND);
    assert_eq!(error(&world, first), Some(CallError::Timeout));
    assert!(is_answered(&world, second));
}

#[test]
fn a_cancelled_call_has_no_end() {
    let mut world = world(1);
    let sent = world.call("g1", "r1", SECOND);
    world.cancel(sent);
    world.link_down("g1");
    let queued = world.call("g1", "r1", SECOND);
    world.cancel(queued);
    world.link_back("g1");
    world.advance(2 * SECOND);
    assert_eq!((world.outcome(sent), world.outcome(queued)), (None, None));
    assert_eq!(world.delivered(), 1, "what was not sent yet is not sent any more");
    assert_eq!(world.node("g1").call_stats().cancelled, 2);
}

#[test]
fn a_server_that_is_not_there_is_told_at_once() {
    let mut world = world(1);
    world.crash("r1");
    assert_eq!(world.table("g1"), ["g1", "r1"], "nobody knows yet");
    let start = world.now();
    let call = world.call("g1", "r1", 5 * SECOND);
    world.run_until(|world| world.outcome(call).is_some());
    assert_eq!(error(&world, call), Some(CallError::NoResponders));
    assert!(world.now() - start < SECOND);
}

#[test]
fn a_call_whose_deadline_has_passed_ends_now() {
    let mut world = world(1);
    let call = world.call("g1", "r1", Duration::ZERO);
    world.advance(Duration::ZERO);
    assert_eq!(error(&world, call), Some(CallError::Timeout));
}

#[test]
fn calls_wait_for_a_bus_that_is_down_and_go_out_in_order() {
    let mut world = world(1);
    world.link_down("g1");
    let calls: Vec<_> = (0..20).map(|_| world.call("g1", "r1", 10 * SECOND)).collect();
    world.advance(5 * SECOND);
    assert_eq!((world.offers("g1"), world.node("g1").calls_in_flight()), (0, 20));
    world.link_back("g1");
    world.advance(SECOND);
    assert!(calls.iter().all(|call| is_answered(&world, *call)));
    assert_eq!(world.offers("g1"), 20);
}

#[test]
fn calls_that_ended_while_the_bus_was_down_are_not_sent() {
    let mut world = world(1);
    world.link_down("g1");
    let calls: Vec<_> = (1..=20).map(|seconds| world.call("g1", "r1", SECOND * seconds)).collect();
    world.advance(SECOND * 10);
    world.link_back("g1");
    world.advance(SECOND);
    let answered: Vec<_> = calls.iter().map(|call| is_answered(&world, *call)).collect();
    assert_eq!(answered, [[false; 10], [true; 10]].concat());
    assert_eq!((world.offers("g1"), world.delivered()), (10, 10));
}

#[test]
fn a_bus_that_is_full_now_and_then_loses_nothing() {
    seeds(20, |seed| {
        let mut world = world(seed);
        world.set_bus(BusFaults::default().refuse(2));
        let calls: Vec<_> = (0..30).map(|_| world.call("g1", "r1", 10 * SECOND)).collect();
        world.advance(2 * SECOND);
        assert!(calls.iter().all(|call| is_answered(&world, *call)));
    });
}

#[test]
fn a_bus_that_stays_full_is_not_asked_all_the_time() {
    let mut world = world(1);
    world.set_full("g1", true);
    let call = world.call("g1", "r1", 2 * SECOND);
    let other = world.call("g1", "r1", 4 * SECOND);
    world.advance(3 * SECOND);
    assert_eq!(error(&world, call), Some(CallError::Timeout));
    assert!(world.offers("g1") <= 1501, "{} times", world.offers("g1"));
    world.set_full("g1", false);
    world.advance(SECOND / 2);
    assert!(is_answered(&world, other));
}

#[test]
fn what_waits_for_a_bus_that_is_down_is_bounded() {
    let mut world = with(1, |config| config.max_queued_bytes = 10_000);
    world.link_down("g1");
    while world.try_call("g1", "r1", 10 * SECOND, 100).is_ok() {}
    assert_eq!(world.try_call("g1", "r1", 10 * SECOND, 100), Err(CallError::TooMany));
    let waiting = world.node("g1").calls_in_flight();
    assert!(world.node("g1").queued_bytes() <= 10_000 && waiting > 20, "{waiting} wait");
    world.link_back("g1");
    world.advance(SECOND);
    assert_eq!(world.node("g1").call_stats().answered as usize, waiting);
}

#[test]
fn calls_that_ended_leave_their_room_to_others() {
    let mut world = with(1, |config| config.max_queued_bytes = 10_000);
    world.link_down("g1");
    for _ in 0..5 {
        while world.try_call("g1", "r1", SECOND, 100).is_ok() {}
        world.advance(SECOND);
    }
    let last = world.try_call("g1", "r1", SECOND, 100).expect("the others have ended");
    world.link_back("g1");
    world.advance(SECOND);
    assert!(is_answered(&world, last));
    assert_eq!(world.offers("g1"), 1);
}

#[test]
fn answers_for_which_there_is_no_room_are_dropped_and_counted() {
    let mut world = with(1, |config| config.max_queued_bytes = 10_000);
    world.set_callees(Callees::default().after(SECOND..=SECOND).more(1000));
    let calls: Vec<_> = (0..20).map(|_| world.call("g1", "r1", 5 * SECOND)).collect();
    world.run_until(|world| world.delivered() == 20);
    world.set_full("r1", true);
    world.advance(2 * SECOND);
    world.set_full("r1", false);
    world.advance(5 * SECOND);
    let unsent = world.node("r1").call_stats().unsent as usize;
    assert!((11..15).contains(&unsent), "{unsent} were dropped");
    assert_eq!(calls.iter().filter(|call| is_answered(&world, **call)).count(), 20 - unsent);
}

#[test]
fn what_is_too_long_for_the_bus_is_refused() {
    let mut world = world(1);
    assert!(matches!(world.try_call("g1", "r1", SECOND, 1 << 20), Err(CallError::TooLong { .. })));
    world.set_callees(Callees::default().more(1 << 20));
    let call = world.call("g1", "r1", SECOND);
    world.advance(SECOND);
    let Some(Ok(answer)) = world.outcome(call) else {
        panic!("an answer that is too long becomes one that says so: {:?}", world.outcome(call));
    };
    assert_eq!(answer.error.as_ref().map(|error| error.code.as_str()), Some("PIT-500"));
}

#[test]
fn what_waited_and_is_too_long_for_the_bus_that_comes_back_is_not_sent() {
    let mut world = world(1);
    world.link_down("g1");
    let long = world.try_call("g1", "r1", 9 * SECOND, 1000).expect("the limit was another one");
    let ended = world.try_call("g1", "r1", SECOND, 1000).expect("the limit was another one");
    let short = world.call("g1", "r1", 9 * SECOND);
    world.advance(2 * SECOND);
    world.set_max_payload(500);
    world.link_back("g1");
    assert!(matches!(error(&world, long), Some(CallError::TooLong { max: 500, .. })));
    world.advance(SECOND);
    assert_eq!((is_answered(&world, short), error(&world, ended)), (true, Some(CallError::Timeout)));
}

#[test]
fn an_answer_that_waited_and_is_too_long_becomes_an_error() {
    let mut world = world(1);
    world.set_callees(Callees::default().after(SECOND..=SECOND).more(1000));
    let call = world.call("g1", "r1", 9 * SECOND);
    world.run_until(|world| world.delivered() == 1);
    world.link_down("r1");
    world.advance(2 * SECOND);
    world.set_max_payload(500);
    world.link_back("r1");
    world.advance(SECOND);
    let answer = world.outcome(call).and_then(|result| result.as_ref().ok()).expect("an answer");
    assert!(answer.error.is_some() && answer.data.is_empty(), "{answer:?}");
}

#[test]
fn an_answer_to_a_crashed_node_does_not_reach_the_one_with_its_id() {
    let mut world = world(1);
    world.set_callees(Callees::default().after(SECOND..=SECOND));
    let before = world.call("g1", "r1", 5 * SECOND);
    world.run_until(|world| world.delivered() == 1);
    world.crash("g1");
    world.start("gate", "g1");
    world.set_callees(Callees::default().ignore(1));
    let after = world.call("g1", "r1", 5 * SECOND);
    world.advance(6 * SECOND);
    assert_eq!((world.outcome(before), error(&world, after)), (None, Some(CallError::Timeout)));
}

#[test]
fn an_envelope_that_cannot_be_read_stops_nothing() {
    let mut world = world(1);
    for kind in [Kind::Call, Kind::Push, Kind::Kick, Kind::Bind] {
        world.inject("r1", BusEvent::Message { kind, reply: None, payload: b"\xff\xff".as_slice().into() });
    }
    assert_eq!(count(&world, "r1", |event| matches!(event, ClusterEvent::Unreadable { .. })), 4);
    let call = world.call("g1", "r1", SECOND);
    world.advance(SECOND);
    assert!(is_answered(&world, call));
}

#[test]
fn many_calls_end_each_in_its_own_way() {
    seeds(10, |seed| {
        let mut world: World = world(seed);
        world.set_bus(BusFaults::default().delay(Duration::ZERO..=30 * MILLI).lose(10).repeat(5).refuse(20).fail(20));
        world.set_callees(Callees::default().after(Duration::ZERO..=100 * MILLI).ignore(10).twice(5));
        let calls: Vec<_> = (1..=200).map(|n| world.call("g1", "r1", MILLI * n)).collect();
        calls.iter().step_by(9).for_each(|call| world.cancel(*call));
        world.advance(SECOND);
        let stats = *world.node("g1").call_stats();
        assert_eq!((stats.begun, stats.cancelled, world.node("g1").calls_in_flight()), (200, 23, 0));
        assert!(stats.answered > 30 && stats.timed_out > 30 && stats.late > 5 && stats.duplicate > 5, "{stats:?}");
    });
}
