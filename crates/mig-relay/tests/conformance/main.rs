//! One suite for every relay: what the trait promises, proved against the
//! built-in relay in memory and in a file, its network face with and without
//! TLS, and RabbitMQ where one is given.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and tests show their figures"
)]

mod amqp;
mod cut;
mod fixture;
mod local;
mod promises;
mod ws;

use fixture::{Fixture, Kind};

/// Each promise as a test of its own, for one kind of relay.
macro_rules! suite {
    ($module:ident, $kind:expr; $($promise:ident),+ $(,)?) => {
        mod $module {
            use super::*;

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $promise() {
                    let fixture = Fixture::start($kind).await;
                    promises::$promise(&fixture).await;
                    fixture.stop().await;
                }
            )+
        }
    };
}

/// The list of promises, once.
macro_rules! each_promise {
    ($callback:ident, $($head:tt)*) => {
        $callback! { $($head)*;
            a_command_is_unroutable_until_its_agent_has_listened,
            deliveries_keep_their_order_and_acks_remove_them,
            what_a_reader_leaves_unacknowledged_comes_back_marked,
            requeued_deliveries_come_back_marked,
            messages_wait_for_an_absent_agent,
            an_attempt_given_up_leaves_no_reader,
            messages_expire,
            the_prefetch_bounds_what_is_in_hand,
            a_batch_lingers_to_fill_but_not_longer,
            two_readers_share_a_queue_without_doubling,
            a_queue_in_use_is_not_deleted,
            outcomes_are_one_per_message_in_order,
            a_large_body_arrives_whole,
            many_messages_arrive_once_each,
            a_cancelled_wait_loses_nothing,
            acknowledging_twice_or_nonsense_does_nothing,
            events_reach_those_bound_to_them_only,
        }
    };
}
pub(crate) use each_promise;

each_promise!(suite, memory, Kind::Memory);
each_promise!(suite, file, Kind::File);
each_promise!(suite, ws_plain, Kind::WsPlain);
each_promise!(suite, ws_tls, Kind::WsTls);
