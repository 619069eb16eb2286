//! Searches: every filter of each type, and pages.

use mig_store::{Page, Search};
use mig_types::{
    Action, AgentId, CommandId, CommandStatus, InvestigatorId, ModuleResult, Permissions, Threat,
};

use crate::support::{ALL, Platform, action, action_id, at, beat, on_both, owner, result};

on_both!(
    actions_by_every_filter,
    commands_by_every_filter,
    agents_by_every_filter,
    investigators_by_every_filter,
    pages_follow_each_other,
    pages_of_commands_are_parts_of_the_whole,
    pages_of_agents_are_parts_of_the_whole,
    agents_not_heard_for_long_are_found_by_their_actions,
    a_late_result_shows_in_the_counters_of_an_action_that_is_over,
    patterns_escape_and_ignore_case,
);

struct World {
    agents: Vec<AgentId>,
    commands: Vec<CommandId>,
    alice: InvestigatorId,
}

/// Action 1 by alice on linux.web1 (found) and windows.desk1 (nothing found);
/// action 2 by bob on linux.web1 (failed).
async fn world(platform: &Platform) -> World {
    let store = &platform.store;
    let alice = platform.investigator("Alice", Permissions::DEFAULT).await;
    let bob = platform.investigator("Bob", Permissions::DEFAULT).await;
    let mut desk = beat("windows.desk1", 1);
    desk.version = "2.0-dev".into();
    store.upsert_heartbeats(&[beat("linux.web1", 1)], &platform.ids, at(0)).await.unwrap();
    store.upsert_heartbeats(&[desk], &platform.ids, at(50)).await.unwrap();
    let mut agents = store.search_agents(&Search::default(), ALL).await.unwrap();
    agents.sort_by(|a, b| a.queueloc.cmp(&b.queueloc));
    let agents: Vec<_> = agents.into_iter().map(|agent| agent.id).collect();
    let id = |id| InvestigatorId::new(id).unwrap();
    let mut commands = Vec::new();
    for (number, signer, family, targets) in
        [(1, alice, "malware", &agents[..]), (2, bob, "compliance", &agents[..1])]
    {
        let action = Action {
            name: format!("Find {family}"),
            threat: Threat { family: family.into(), ..Threat::default() },
            validfrom: at(number),
            expireafter: at(1000 * number),
            ..action(number)
        };
        store.insert_action(&action, &[(id(signer), "sig".into())]).await.unwrap();
        store.claim_actions(&owner("s"), crate::support::LEASE, 9, at(10)).await.unwrap();
        let new: Vec<_> = targets
            .iter()
            .map(|agent| mig_store::NewCommand { id: platform.ids.command(at(0)), agent: *agent })
            .collect();
        assert!(store.dispatch(action.id, &owner("s"), &new, at(10 * number)).await.unwrap());
        commands.extend(new.into_iter().map(|new| new.id));
    }
    let nothing = mig_store::Finished {
        results: vec![ModuleResult { success: true, ..ModuleResult::default() }],
        ..result(commands[1], "windows.desk1", CommandStatus::Success)
    };
    let batch = [
        result(commands[0], "linux.web1", CommandStatus::Success),
        nothing,
        result(commands[2], "linux.web1", CommandStatus::Failed),
    ];
    store.finish_commands(&batch, at(30)).await.unwrap();
    World { agents, commands, alice: id(alice) }
}

fn text(text: &str) -> Option<String> {
    (text != "%").then(|| text.to_owned())
}

async fn actions_by_every_filter(platform: &Platform) {
    let world = world(platform).await;
    let d = Search::default;
    for (search, expected) in [
        (d(), &[2, 1][..]),
        (Search { after: Some(at(2)), ..d() }, &[2]),
        (Search { before: Some(at(1000)), ..d() }, &[1]),
        (Search { action_id: Some(action_id(1)), ..d() }, &[1]),
        (Search { action_name: text("find m%"), ..d() }, &[1]),
        (Search { threat_family: text("COMPLIANCE"), ..d() }, &[2]),
        (Search { status: text("inflight"), ..d() }, &[2, 1]),
        (Search { status: text("pending"), ..d() }, &[]),
        (Search { command_id: Some(world.commands[2]), ..d() }, &[2]),
        (Search { agent_id: Some(world.agents[1]), ..d() }, &[1]),
        (Search { agent_name: text("linux-%"), ..d() }, &[2, 1]),
        (Search { agent_version: text("2.0%"), ..d() }, &[1]),
        (Search { investigator_id: Some(world.alice), ..d() }, &[1]),
        (Search { investigator_name: text("b_b"), ..d() }, &[2]),
        // The command and its agent belong together.
        (
            Search { command_id: Some(world.commands[2]), agent_id: Some(world.agents[1]), ..d() },
            &[],
        ),
    ] {
        let found = platform.store.search_actions(&search, ALL).await.unwrap();
        let ids: Vec<_> = found.iter().map(|action| action.id.get()).collect();
        assert_eq!(ids, expected, "{search:?}");
        for action in found {
            assert_eq!(action.investigators.len(), 1);
            assert_eq!(action.counters.done, 3 - action.id.get());
        }
    }
}

async fn commands_by_every_filter(platform: &Platform) {
    let World { agents, commands, alice } = world(platform).await;
    let (found, nothing, failed) = (commands[0], commands[1], commands[2]);
    let d = Search::default;
    for (search, expected) in [
        (d(), &[failed, nothing, found][..]),
        (Search { after: Some(at(11)), ..d() }, &[failed]),
        (Search { before: Some(at(10)), ..d() }, &[nothing, found]),
        (Search { command_id: Some(nothing), ..d() }, &[nothing]),
        (Search { status: text("success"), ..d() }, &[nothing, found]),
        (Search { action_id: Some(action_id(2)), ..d() }, &[failed]),
        (Search { action_name: text("%malware"), ..d() }, &[nothing, found]),
        (Search { threat_family: text("compl%"), ..d() }, &[failed]),
        (Search { agent_id: Some(agents[0]), ..d() }, &[failed, found]),
        (Search { agent_name: text("windows%"), ..d() }, &[nothing]),
        (Search { agent_version: text("1.0"), ..d() }, &[failed, found]),
        (Search { investigator_id: Some(alice), ..d() }, &[nothing, found]),
        (Search { investigator_name: text("bob"), ..d() }, &[failed]),
        (Search { found_anything: Some(true), ..d() }, &[found]),
        (Search { found_anything: Some(false), ..d() }, &[nothing]),
        (Search { found_anything: Some(true), agent_id: Some(agents[1]), ..d() }, &[]),
    ] {
        let hits = platform.store.search_commands(&search, ALL).await.unwrap();
        let ids: Vec<_> = hits.iter().map(|command| command.id).collect();
        assert_eq!(ids, expected, "{search:?}");
        for command in hits {
            assert!(!command.action.name.is_empty() && !command.agent.name.is_empty());
        }
    }
    // As a program has stored them that does not note what was found.
    platform.execute("update commands set found = null").await;
    for (wanted, expected) in [(true, found), (false, nothing)] {
        let search = Search { found_anything: Some(wanted), ..d() };
        let hits = platform.store.search_commands(&search, ALL).await.unwrap();
        assert_eq!(hits.iter().map(|command| command.id).collect::<Vec<_>>(), [expected]);
    }
    // Results that are no list, as a foreign program may have stored, match nothing.
    platform.execute("update commands set results = '{}'").await;
    let search = Search { found_anything: Some(true), ..d() };
    assert!(platform.store.search_commands(&search, ALL).await.unwrap().is_empty());
}

async fn agents_by_every_filter(platform: &Platform) {
    let World { agents, commands, alice } = world(platform).await;
    let (web, desk) = (agents[0], agents[1]);
    platform.execute("update agents set status = 'offline' where queueloc like 'windows%'").await;
    let d = Search::default;
    for (search, expected) in [
        (d(), &[desk, web][..]),
        (Search { after: Some(at(1)), ..d() }, &[desk]),
        (Search { before: Some(at(1)), ..d() }, &[web]),
        (Search { agent_id: Some(web), ..d() }, &[web]),
        (Search { agent_name: text("%DESK%"), ..d() }, &[desk]),
        (Search { agent_version: text("2%"), ..d() }, &[desk]),
        (Search { status: text("offline"), ..d() }, &[desk]),
        (Search { action_id: Some(action_id(2)), ..d() }, &[web]),
        (Search { action_name: text("find malware"), ..d() }, &[desk, web]),
        (Search { threat_family: text("compliance"), ..d() }, &[web]),
        (Search { command_id: Some(commands[1]), ..d() }, &[desk]),
        (Search { investigator_id: Some(alice), ..d() }, &[desk, web]),
        (Search { investigator_name: text("bob"), ..d() }, &[web]),
    ] {
        let found = platform.store.search_agents(&search, ALL).await.unwrap();
        let ids: Vec<_> = found.iter().map(|agent| agent.id).collect();
        assert_eq!(ids, expected, "{search:?}");
    }
}

async fn investigators_by_every_filter(platform: &Platform) {
    let World { agents, commands, alice } = world(platform).await;
    let d = Search::default;
    for (search, expected) in [
        (d(), &["Alice", "Bob"][..]),
        (Search { after: Some(at(1)), ..d() }, &[]),
        (Search { before: Some(at(0)), ..d() }, &["Alice", "Bob"]),
        (Search { investigator_id: Some(alice), ..d() }, &["Alice"]),
        (Search { investigator_name: text("bo%"), ..d() }, &["Bob"]),
        (Search { status: text("disabled"), ..d() }, &[]),
        (Search { action_id: Some(action_id(1)), ..d() }, &["Alice"]),
        (Search { threat_family: text("compliance"), ..d() }, &["Bob"]),
        (Search { command_id: Some(commands[2]), ..d() }, &["Bob"]),
        (Search { agent_id: Some(agents[0]), ..d() }, &["Alice", "Bob"]),
        (Search { agent_id: Some(agents[1]), ..d() }, &["Alice"]),
    ] {
        let found = platform.store.search_investigators(&search, ALL).await.unwrap();
        let names: Vec<_> = found.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, expected, "{search:?}");
    }
}

async fn pages_follow_each_other(platform: &Platform) {
    for id in 1..=5 {
        platform.insert(id).await;
    }
    let page = async |limit, offset| -> Vec<u64> {
        let page = Page { limit, offset };
        let found = platform.store.search_actions(&Search::default(), page).await.unwrap();
        found.into_iter().map(|action| action.id.get()).collect()
    };
    // Equal times: the order of the ids decides, so pages never overlap.
    assert_eq!(page(2, 0).await, [5, 4]);
    assert_eq!(page(2, 2).await, [3, 2]);
    assert_eq!(page(2, 4).await, [1]);
    assert!(page(2, 6).await.is_empty());
    assert!(page(0, 0).await.is_empty());
}

async fn pages_of_commands_are_parts_of_the_whole(platform: &Platform) {
    let queuelocs = ["linux.a1", "linux.a2", "linux.b1", "linux.b2"];
    let agents = platform.enroll(&queuelocs, at(0)).await;
    // The second action starts together with the first, the third later.
    for (id, start) in [(1, 10), (2, 10), (3, 20)] {
        let (_, commands) =
            platform.launch(id, &agents[..=usize::try_from(id).unwrap()], at(start)).await;
        let status = if id == 2 { CommandStatus::Failed } else { CommandStatus::Success };
        platform.finish(result(commands[0], queuelocs[0], status), at(30)).await;
    }
    let d = Search::default;
    for (search, count) in [
        (d(), 9),
        (Search { action_name: text("action %"), ..d() }, 9),
        (Search { action_name: text("action %"), agent_name: text("%-a_"), ..d() }, 6),
        (Search { agent_name: text("linux-b%"), ..d() }, 3),
        (Search { agent_id: Some(agents[0]), ..d() }, 3),
        (Search { action_id: Some(action_id(3)), agent_name: text("linux-%"), ..d() }, 4),
        (Search { status: text("SUCCESS"), ..d() }, 2),
        (Search { status: text("s_cc%"), action_name: text("%1"), ..d() }, 1),
        (Search { found_anything: Some(true), agent_id: Some(agents[0]), ..d() }, 2),
        (Search { after: Some(at(20)), agent_version: text("1%"), ..d() }, 4),
        (Search { action_name: text("none"), ..d() }, 0),
        (Search { agent_name: text("none"), action_id: Some(action_id(1)), ..d() }, 0),
    ] {
        let page = async |limit, offset| -> Vec<_> {
            let page = Page { limit, offset };
            let found = platform.store.search_commands(&search, page).await.unwrap();
            found.into_iter().map(|found| (found.starttime, found.id)).collect()
        };
        let whole = page(100, 0).await;
        assert_eq!(whole.len(), count, "{search:?}");
        assert!(whole.is_sorted_by(|a, b| a > b), "{search:?}: {whole:?}");
        for limit in 1..4 {
            for offset in 0..=count {
                let end = (offset + limit).min(count);
                let part = page(u32::try_from(limit).unwrap(), u32::try_from(offset).unwrap());
                assert_eq!(part.await, whole[offset..end], "{search:?} {limit} {offset}");
            }
        }
    }
}

async fn pages_of_agents_are_parts_of_the_whole(platform: &Platform) {
    // Several in an hour, at its ends, at the same time, and hours without any.
    let heard = [0, 1, 3599, 3600, 3600, 3601, 7199, 7200, 20_000, 20_000, 20_001, 100_000];
    let mut agents = Vec::new();
    for (number, time) in heard.into_iter().enumerate() {
        let queueloc = format!("linux.{}{number:02}", if number % 3 == 0 { "a" } else { "b" });
        agents.extend(platform.enroll(&[&queueloc], at(time)).await);
    }
    // More actions than are looked up by their commands.
    for id in 1..=12 {
        platform.launch(id, &agents[..10], at(50)).await;
    }
    let d = Search::default;
    for (search, count) in [
        (d(), 12),
        (Search { after: Some(at(3600)), before: Some(at(20_000)), ..d() }, 7),
        (Search { agent_name: text("%-a%"), ..d() }, 4),
        (Search { action_name: text("action %"), ..d() }, 10),
        (Search { action_name: text("action %"), agent_name: text("%-b%"), ..d() }, 6),
        (Search { action_name: text("action %"), after: Some(at(3600)), ..d() }, 7),
        (Search { action_id: Some(action_id(3)), ..d() }, 10),
        (Search { agent_version: text("1%"), ..d() }, 12),
        (Search { status: text("online"), ..d() }, 12),
    ] {
        let page = async |limit, offset| -> Vec<_> {
            let page = Page { limit, offset };
            let found = platform.store.search_agents(&search, page).await.unwrap();
            found.into_iter().map(|found| (found.heartbeatts, found.id)).collect()
        };
        let whole = page(100, 0).await;
        assert_eq!(whole.len(), count, "{search:?}");
        assert!(whole.is_sorted_by(|a, b| a > b), "{search:?}: {whole:?}");
        for limit in 1..4 {
            for offset in 0..=count + 1 {
                let (begin, end) = (offset.min(count), (offset + limit).min(count));
                let part = page(u32::try_from(limit).unwrap(), u32::try_from(offset).unwrap());
                assert_eq!(part.await, whole[begin..end], "{search:?} {limit} {offset}");
            }
        }
        assert!(page(0, 0).await.is_empty());
    }
}

async fn agents_not_heard_for_long_are_found_by_their_actions(platform: &Platform) {
    let old = ["linux.old1", "linux.old2", "linux.old3"];
    let old = platform.enroll(&old, at(0)).await;
    // More than are looked at first.
    let names: Vec<String> = (0..1001).map(|number| format!("linux.new{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    platform.enroll(&names, at(10_000)).await;
    for id in 1..=12 {
        platform.launch(id, &old, at(50)).await;
    }
    let search = Search { action_name: text("action %"), ..Search::default() };
    for (limit, offset, count) in [(2, 0, 2), (2, 2, 1), (100, 0, 3)] {
        let page = Page { limit, offset };
        let found = platform.store.search_agents(&search, page).await.unwrap();
        assert_eq!(found.len(), count, "{limit} {offset}");
        assert!(found.iter().all(|agent| old.contains(&agent.id)));
    }
}

async fn a_late_result_shows_in_the_counters_of_an_action_that_is_over(platform: &Platform) {
    let agents = platform.enroll(&["linux.a"], at(0)).await;
    let (action, commands) = platform.launch(1, &agents, at(1)).await;
    let grace = std::time::Duration::ZERO;
    platform.store.expire_commands(grace, at(4000)).await.unwrap();
    platform.store.complete_actions(at(4001)).await.unwrap();
    for _ in 0..2 {
        let counters = platform.store.action(action).await.unwrap().unwrap().counters;
        assert_eq!((counters.expired, counters.success), (1, 0));
    }
    platform.finish(result(commands[0], "linux.a", CommandStatus::Success), at(4002)).await;
    // Also where the result came in through another process.
    for store in [&platform.store, &platform.second] {
        let counters = store.action(action).await.unwrap().unwrap().counters;
        assert_eq!((counters.expired, counters.success), (0, 1));
    }
}

async fn patterns_escape_and_ignore_case(platform: &Platform) {
    for (id, name) in [(1, "100%"), (2, "100 Percent"), (3, "a_b"), (4, "axb"), (5, r"back\slash")]
    {
        let action = Action { name: name.into(), ..action(id) };
        platform.store.insert_action(&action, &[]).await.unwrap();
    }
    for (pattern, expected) in [
        ("100%", &[2, 1][..]),
        (r"100\%", &[1]),
        ("100 percent", &[2]),
        ("a_b", &[4, 3]),
        (r"a\_b", &[3]),
        (r"back\\slash", &[5]),
        ("'; drop table actions; --", &[]),
    ] {
        let search = Search { action_name: text(pattern), ..Search::default() };
        let found = platform.store.search_actions(&search, ALL).await.unwrap();
        let ids: Vec<_> = found.iter().map(|action| action.id.get()).collect();
        assert_eq!(ids, expected, "{pattern}");
    }
}
