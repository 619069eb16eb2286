//! The promises of the trait, for any relay.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mig_relay::{RelayError, Route, Source};
use tokio::time::timeout;

use crate::fixture::{
    DEADLINE, Fixture, HOUR, bodies, gather, is_silent, message, next, numbers, publish,
    publish_numbers, tags, unique_queueloc,
};

pub(crate) async fn a_command_is_unroutable_until_its_agent_has_listened(fixture: &Fixture) {
    let queueloc = unique_queueloc();
    let route = Route::Agent(queueloc.clone());
    let outcomes = fixture.scheduler.publish(vec![message(route.clone(), "early", HOUR)]).await;
    assert!(matches!(outcomes.as_slice(), [Err(RelayError::Unroutable { .. })]), "{outcomes:?}");

    let mut consumer = fixture.agent.consume(Source::Agent(queueloc), 1).await.unwrap();
    publish(&*fixture.scheduler, route, "late").await;
    assert_eq!(bodies(&next(&mut consumer, 5, Duration::ZERO).await), ["late"]);
}

pub(crate) async fn deliveries_keep_their_order_and_acks_remove_them(fixture: &Fixture) {
    let queueloc = unique_queueloc();
    let source = Source::Agent(queueloc.clone());
    let mut consumer = fixture.agent.consume(source.clone(), 0).await.unwrap();
    publish_numbers(&*fixture.scheduler, &Route::Agent(queueloc.clone()), 0..50).await;
    publish_numbers(&*fixture.scheduler, &Route::Agent(queueloc), 50..100).await;
    let all = gather(&mut consumer, 100).await;
    assert_eq!(numbers(&all), (0..100).collect::<Vec<_>>());
    assert!(all.iter().all(|delivery| !delivery.redelivered));
    // Out of order and in several calls: what stays is what was not named.
    let keep = all[40].tag;
    let mut order = tags(&all);
    order.reverse();
    order.retain(|tag| *tag != keep);
    for part in order.chunks(33) {
        consumer.ack(part).await.unwrap();
    }
    drop(consumer);
    let mut consumer = fixture.agent.consume(source, 0).await.unwrap();
    assert_eq!(numbers(&gather(&mut consumer, 1).await), [40]);
    assert!(is_silent(&mut consumer).await);
}

pub(crate) async fn what_a_reader_leaves_unacknowledged_comes_back_marked(fixture: &Fixture) {
    let queueloc = unique_queueloc();
    let source = Source::Agent(queueloc.clone());
    let mut first = fixture.agent.consume(source.clone(), 10).await.unwrap();
    publish_numbers(&*fixture.scheduler, &Route::Agent(queueloc), 0..3).await;
    let held = gather(&mut first, 3).await;
    first.ack(&[held[1].tag]).await.unwrap();
    drop(first);

    let mut second = fixture.agent.consume(source, 10).await.unwrap();
    let again = gather(&mut second, 2).await;
    assert_eq!(numbers(&again), [0, 2]);
    assert!(again.iter().all(|delivery| delivery.redelivered));
}

pub(crate) async fn requeued_deliveries_come_back_marked(fixture: &Fixture) {
    let queueloc = unique_queueloc();
    let mut consumer = fixture.agent.consume(Source::Agent(queueloc.clone()), 5).await.unwrap();
    publish_numbers(&*fixture.scheduler, &Route::Agent(queueloc), 0..3).await;
    let held = gather(&mut consumer, 3).await;
    consumer.requeue(&[held[1].tag]).await.unwrap();
    let again = gather(&mut consumer, 1).await;
    assert_eq!(numbers(&again), [1]);
    assert!(again[0].redelivered);
    assert_ne!(again[0].tag, held[1].tag);
    consumer.ack(&tags(&held)).await.unwrap();
    consumer.ack(&tags(&again)).await.unwrap();
    assert!(is_silent(&mut consumer).await);
}

pub(crate) async fn messages_wait_for_an_absent_agent(fixture: &Fixture) {
    let queueloc = unique_queueloc();
    let source = Source::Agent(queueloc.clone());
    drop(fixture.agent.consume(source.clone(), 1).await.unwrap());
    publish_numbers(&*fixture.scheduler, &Route::Agent(queueloc), 0..5).await;
    let mut consumer = fixture.agent.consume(source, 1).await.unwrap();
    let mut all = Vec::new();
    for _ in 0..5 {
        let one = next(&mut consumer, 1, Duration::ZERO).await;
        all.extend(numbers(&one));
        consumer.ack(&tags(&one)).await.unwrap();
    }
    // The broker may still be ending the first reader when the first message
    // comes: that one then returns to its queue behind the next.
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3, 4]);
}

pub(crate) async fn an_attempt_given_up_leaves_no_reader(fixture: &Fixture) {
    let queueloc = unique_queueloc();
    let source = Source::Agent(queueloc.clone());
    drop(fixture.agent.consume(source.clone(), 1).await.unwrap());
    // Given up at every moment of the handshake with the relay.
    for tenths in 0..60 {
        let patience = Duration::from_micros(100 * tenths);
        let attempt = fixture.agent.consume(source.clone(), 5);
        drop(tokio::time::timeout(patience, attempt).await);
    }
    let mut consumer = fixture.agent.consume(source, 5).await.unwrap();
    publish_numbers(&*fixture.scheduler, &Route::Agent(queueloc), 0..50).await;
    let mut all = Vec::new();
    while all.len() < 50 {
        let some = next(&mut consumer, 5, Duration::ZERO).await;
        all.extend(numbers(&some));
        consumer.ack(&tags(&some)).await.unwrap();
    }
    all.sort_unstable();
    assert_eq!(all, (0..50).collect::<Vec<_>>());
}

pub(crate) async fn messages_expire(fixture: &Fixture) {
    let (lasting, passing) = (unique_queueloc(), unique_queueloc());
    for queueloc in [&lasting, &passing] {
        drop(fixture.agent.consume(Source::Agent(queueloc.clone()), 1).await.unwrap());
    }
    let brief = Duration::from_millis(200);
    let outcomes = fixture
        .scheduler
        .publish(vec![
            message(Route::Agent(passing.clone()), "brief", brief),
            message(Route::Agent(lasting.clone()), "brief", brief),
            message(Route::Agent(lasting.clone()), "lasting", HOUR),
        ])
        .await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");

    // An empty queue is what deletion waits for.
    let start = Instant::now();
    while !fixture.scheduler.delete_if_unused(&passing).await.unwrap() {
        assert!(start.elapsed() < DEADLINE, "the message never expired");
        tokio::task::yield_now().await;
    }
    assert!(!fixture.scheduler.delete_if_unused(&lasting).await.unwrap());
    let mut consumer = fixture.agent.consume(Source::Agent(lasting), 5).await.unwrap();
    assert_eq!(bodies(&next(&mut consumer, 5, Duration::ZERO).await), ["lasting"]);
}

pub(crate) async fn the_prefetch_bounds_what_is_in_hand(fixture: &Fixture) {
    let queueloc = unique_queueloc();
    let mut consumer = fixture.agent.consume(Source::Agent(queueloc.clone()), 3).await.unwrap();
    publish_numbers(&*fixture.scheduler, &Route::Agent(queueloc), 0..10).await;
    let held = gather(&mut consumer, 3).await;
    assert_eq!(numbers(&held), [0, 1, 2]);
    assert!(is_silent(&mut consumer).await);
    consumer.ack(&tags(&held[..2])).await.unwrap();
    assert_eq!(numbers(&gather(&mut consumer, 2).await), [3, 4]);
    assert!(is_silent(&mut consumer).await);
}

pub(crate) async fn a_batch_lingers_to_fill_but_not_longer(fixture: &Fixture) {
    let queueloc = unique_queueloc();
    let route = Route::Agent(queueloc.clone());
    let mut consumer = fixture.agent.consume(Source::Agent(queueloc), 10).await.unwrap();
    let start = Instant::now();
    let (batch, ()) = tokio::join!(next(&mut consumer, 2, DEADLINE * 2), async {
        publish_numbers(&*fixture.scheduler, &route, 0..1).await;
        publish_numbers(&*fixture.scheduler, &route, 1..2).await;
    });
    assert_eq!(numbers(&batch), [0, 1]);
    assert!(start.elapsed() < DEADLINE);

    publish_numbers(&*fixture.scheduler, &route, 2..3).await;
    let batch = next(&mut consumer, 5, Duration::from_millis(50)).await;
    assert_eq!(numbers(&batch), [2]);
}

pub(crate) async fn two_readers_share_a_queue_without_doubling(fixture: &Fixture) {
    let mut first = fixture.scheduler.consume(Source::Results, 10).await.unwrap();
    let mut second = fixture.scheduler.consume(Source::Results, 10).await.unwrap();
    publish_numbers(&*fixture.agent, &Route::Results, 0..100).await;
    // While one has its hands full, the other is served.
    let mut seen = Vec::new();
    let (held, others) = (gather(&mut first, 10).await, gather(&mut second, 10).await);
    for (reader, batch) in [(&mut first, held), (&mut second, others)] {
        reader.ack(&tags(&batch)).await.unwrap();
        seen.extend(numbers(&batch));
    }
    while seen.len() < 100 {
        let (batch, which) = tokio::select! {
            batch = next(&mut first, 10, Duration::ZERO) => (batch, 0),
            batch = next(&mut second, 10, Duration::ZERO) => (batch, 1),
        };
        let reader = if which == 0 { &mut first } else { &mut second };
        reader.ack(&tags(&batch)).await.unwrap();
        seen.extend(numbers(&batch));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
}

pub(crate) async fn a_queue_in_use_is_not_deleted(fixture: &Fixture) {
    let queueloc = unique_queueloc();
    let route = Route::Agent(queueloc.clone());
    let source = Source::Agent(queueloc.clone());
    assert!(fixture.scheduler.delete_if_unused(&queueloc).await.unwrap());

    let consumer = fixture.agent.consume(source.clone(), 1).await.unwrap();
    assert!(!fixture.scheduler.delete_if_unused(&queueloc).await.unwrap());
    drop(consumer);
    publish(&*fixture.scheduler, route.clone(), "waiting").await;
    assert!(!fixture.scheduler.delete_if_unused(&queueloc).await.unwrap());

    let mut consumer = fixture.agent.consume(source, 1).await.unwrap();
    let held = gather(&mut consumer, 1).await;
    consumer.ack(&tags(&held)).await.unwrap();
    drop(consumer);
    // Ending a reader takes a moment to arrive at a relay elsewhere.
    let start = Instant::now();
    while !fixture.scheduler.delete_if_unused(&queueloc).await.unwrap() {
        assert!(start.elapsed() < DEADLINE, "the queue stays in use");
    }
    let outcomes = fixture.scheduler.publish(vec![message(route, "gone", HOUR)]).await;
    assert!(matches!(outcomes.as_slice(), [Err(RelayError::Unroutable { .. })]), "{outcomes:?}");
}

pub(crate) async fn outcomes_are_one_per_message_in_order(fixture: &Fixture) {
    let (there, nowhere) = (unique_queueloc(), unique_queueloc());
    let mut consumer = fixture.agent.consume(Source::Agent(there.clone()), 0).await.unwrap();
    let messages = (0..700_u32)
        .map(|n| {
            let queueloc = if n % 3 == 1 { &nowhere } else { &there };
            message(Route::Agent(queueloc.clone()), n.to_string(), HOUR)
        })
        .collect();
    let outcomes = fixture.scheduler.publish(messages).await;
    assert_eq!(outcomes.len(), 700);
    for (n, outcome) in outcomes.iter().enumerate() {
        if n % 3 == 1 {
            assert!(matches!(outcome, Err(RelayError::Unroutable { .. })), "{n} {outcome:?}");
        } else {
            assert!(outcome.is_ok(), "{n} {outcome:?}");
        }
    }
    let expected: Vec<u32> = (0..700).filter(|n| n % 3 != 1).collect();
    assert_eq!(numbers(&gather(&mut consumer, expected.len()).await), expected);
    assert!(fixture.scheduler.publish(Vec::new()).await.is_empty());
}

pub(crate) async fn a_large_body_arrives_whole(fixture: &Fixture) {
    let large: Vec<u8> = (0..8 * 1024 * 1024_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let queueloc = unique_queueloc();
    let mut agent = fixture.agent.consume(Source::Agent(queueloc.clone()), 1).await.unwrap();
    publish(&*fixture.scheduler, Route::Agent(queueloc), large.clone()).await;
    let command = next(&mut agent, 1, Duration::ZERO).await;
    assert!(command[0].body == large);

    let mut results = fixture.scheduler.consume(Source::Results, 1).await.unwrap();
    publish(&*fixture.agent, Route::Results, large.clone()).await;
    let result = next(&mut results, 1, Duration::ZERO).await;
    assert!(result[0].body == large);
    results.ack(&tags(&result)).await.unwrap();
}

pub(crate) async fn many_messages_arrive_once_each(fixture: &Fixture) {
    const COUNT: u32 = 5000;
    let start = Instant::now();
    let mut results = fixture.scheduler.consume(Source::Results, 200).await.unwrap();
    let reading = async {
        let mut seen = Vec::new();
        while seen.len() < COUNT as usize {
            let batch = next(&mut results, 200, Duration::from_millis(5)).await;
            results.ack(&tags(&batch)).await.unwrap();
            seen.extend(numbers(&batch));
        }
        seen
    };
    let (seen, ()) =
        tokio::join!(reading, publish_numbers(&*fixture.agent, &Route::Results, 0..COUNT));
    let distinct: BTreeSet<u32> = seen.iter().copied().collect();
    assert_eq!((distinct.len(), seen.len()), (COUNT as usize, COUNT as usize));
    let elapsed = start.elapsed();
    println!("{:?}: {COUNT} published, delivered and acknowledged in {elapsed:?}", fixture.kind);
    assert!(elapsed < DEADLINE);
}

pub(crate) async fn a_cancelled_wait_loses_nothing(fixture: &Fixture) {
    let queueloc = unique_queueloc();
    let route = Route::Agent(queueloc.clone());
    let mut consumer = fixture.agent.consume(Source::Agent(queueloc), 0).await.unwrap();
    let mut seen = Vec::new();
    let publishing = async {
        for n in 0..40 {
            publish_numbers(&*fixture.scheduler, &route, n..n + 1).await;
        }
    };
    let reading = async {
        let start = Instant::now();
        while seen.len() < 40 {
            assert!(start.elapsed() < DEADLINE, "{} of 40", seen.len());
            // Lingers far longer than it is waited for: nearly every wait is cancelled.
            let wait = consumer.next_batch(8, Duration::from_mins(1));
            if let Ok(batch) = timeout(Duration::from_millis(3), wait).await {
                seen.extend(batch.unwrap());
            }
        }
    };
    tokio::join!(publishing, reading);
    assert_eq!(numbers(&seen), (0..40).collect::<Vec<_>>());
    assert!(seen.iter().all(|delivery| !delivery.redelivered));
}

pub(crate) async fn acknowledging_twice_or_nonsense_does_nothing(fixture: &Fixture) {
    let queueloc = unique_queueloc();
    let route = Route::Agent(queueloc.clone());
    let mut consumer = fixture.agent.consume(Source::Agent(queueloc), 10).await.unwrap();
    publish_numbers(&*fixture.scheduler, &route, 0..2).await;
    let held = gather(&mut consumer, 2).await;
    consumer.ack(&[held[0].tag, held[0].tag]).await.unwrap();
    consumer.ack(&[held[0].tag, 0, u64::MAX, 4711]).await.unwrap();
    consumer.requeue(&[held[0].tag, u64::MAX]).await.unwrap();
    consumer.ack(&[]).await.unwrap();
    publish_numbers(&*fixture.scheduler, &route, 2..3).await;
    let more = gather(&mut consumer, 1).await;
    assert_eq!(numbers(&more), [2]);
    consumer.ack(&[held[1].tag, more[0].tag]).await.unwrap();
    assert!(is_silent(&mut consumer).await);
}

pub(crate) async fn events_reach_those_bound_to_them_only(fixture: &Fixture) {
    let unique = unique_queueloc();
    let event = |name: &str| Route::Event(format!("{name}.{unique}"));
    let before = message(event("agent.new"), "before anybody listens", HOUR);
    let outcomes = fixture.scheduler.publish(vec![before]).await;
    assert!(matches!(outcomes.as_slice(), [Err(RelayError::Unroutable { .. })]), "{outcomes:?}");
    let queue = format!("migevent.worker.{unique}");
    let source = Source::Events { queue, key: format!("agent.new.{unique}") };
    let mut consumer = fixture.worker.consume(source, 5).await.unwrap();
    let news = [("command.results", "for others"), ("agent.new", "for us")];
    let news = news.map(|(name, body)| message(event(name), body, HOUR)).to_vec();
    let outcomes = fixture.scheduler.publish(news).await;
    assert!(
        matches!(outcomes.as_slice(), [Err(RelayError::Unroutable { .. }), Ok(())]),
        "{outcomes:?}"
    );
    let got = next(&mut consumer, 5, Duration::from_millis(100)).await;
    assert_eq!(bodies(&got), ["for us"]);
    consumer.ack(&tags(&got)).await.unwrap();
}
