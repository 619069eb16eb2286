//! An investigator.

use mig_client::search::{Kind, Search};
use mig_client::{Found, InvestigatorChange, armored_key};
use mig_module::text::printable;
use mig_sign::keyring;
use mig_terminal::failure::{Failure, code};
use mig_terminal::orders;
use mig_terminal::output::Paint;
use mig_terminal::text::{left, seconds};
use mig_types::{ActionStatus, Investigator, InvestigatorId, InvestigatorStatus, Permissions};

use crate::completion::Scope;
use crate::console::{Console, Mode, Next, settle};
use crate::order::Order;
use mig_terminal::permissions::{self, GRANTABLE};

const NAME: &str = "investigator";

pub(crate) async fn run(console: &mut Console, id: InvestigatorId) -> Result<(), Failure> {
    let mut one = console.call(console.api.investigator(id)).await?;
    console.saw(Kind::Investigator, &id);
    console.enter(NAME);
    console.say(&format!("Investigator {id} named '{}'", printable(&one.name)));
    let prompt = format!("inv {id}>");
    let mode = Mode { prompt: &prompt, paint: Paint::BoldMagenta, scope: Scope::Investigator };
    while let Some(order) = console.order(mode).await? {
        let outcome = obey(console, &order, &mut one).await;
        if settle(outcome)? == Next::Leave {
            break;
        }
    }
    Ok(())
}

async fn obey(
    console: &mut Console,
    order: &Order,
    one: &mut Investigator,
) -> Result<Next, Failure> {
    match order.verb() {
        "apikey" => api_key(console, order, one).await?,
        "details" => console.say(&mig_terminal::investigator::details(one)),
        "lastactions" => {
            let count = order.count(10)?;
            last_actions(console, one.id, count).await?;
        }
        "pubkey" => {
            if one.publickey.is_empty() {
                console.say("No PGP key assigned");
            } else {
                // As our own armor: what is stored may hold anything.
                let key = keyring::reencode(&armored_key(one))
                    .map_err(|error| Failure::of(code::OTHER, &error))?;
                console.say(key.trim_end());
            }
        }
        "r" => {
            refresh(console, one).await?;
            console.say("Reload succeeded");
        }
        "setadmin" => {
            let sets = Permissions::ADMIN.with(Permissions::LOADER).with(Permissions::MANIFEST);
            let (word, set) = match order.only() {
                Some("true") => (true, one.permissions.with(sets)),
                Some("false") => (false, permissions::without(one.permissions, sets)),
                _ => return Err(Failure::usage("must be 'setadmin <true|false>'")),
            };
            update(console, one, InvestigatorChange::Permissions(set)).await?;
            console.say(&format!("Investigator admin flag set to {word}"));
        }
        "setperms" => set_permissions(console, order, one).await?,
        "showperms" => GRANTABLE.iter().for_each(|(name, _)| console.say(name)),
        "setstatus" => {
            let status = order.only().and_then(InvestigatorStatus::parse);
            let status =
                status.ok_or_else(|| Failure::usage("must be 'setstatus <active|disabled>'"))?;
            update(console, one, InvestigatorChange::Status(status)).await?;
            console.say(&format!("Investigator status set to {}", status.as_str()));
        }
        "help" => console.say(orders::INVESTIGATOR),
        _ => return Ok(console.unknown(order, NAME)),
    }
    Ok(Next::Stay)
}

async fn refresh(console: &Console, one: &mut Investigator) -> Result<(), Failure> {
    *one = console.call(console.api.investigator(one.id)).await?;
    Ok(())
}

async fn update(
    console: &Console,
    one: &mut Investigator,
    change: InvestigatorChange,
) -> Result<Investigator, Failure> {
    let answer = console.call(console.api.update_investigator(one.id, change)).await?;
    refresh(console, one).await?;
    Ok(answer)
}

async fn set_permissions(
    console: &mut Console,
    order: &Order,
    one: &mut Investigator,
) -> Result<(), Failure> {
    let mut wanted = Permissions::DEFAULT;
    for word in order.rest() {
        let (_, set) = GRANTABLE.iter().find(|(name, _)| *name == word).ok_or_else(|| {
            let known = GRANTABLE.map(|(name, _)| name).join(", ");
            Failure::usage(format!("unknown permission {word:?}, must be of {known}"))
        })?;
        wanted = wanted.with(*set);
    }
    // Easily meant otherwise: it takes everything but searching and asking.
    if order.rest().is_empty() && one.permissions.is_admin() {
        let question = "this takes the administrator's permissions away. continue?";
        if !console.confirm(question).await? {
            console.say("abort");
            return Ok(());
        }
    }
    update(console, one, InvestigatorChange::Permissions(wanted)).await?;
    console.say(&format!("Investigator permissions set to {}", permissions::text(wanted)));
    Ok(())
}

async fn api_key(
    console: &mut Console,
    order: &Order,
    one: &mut Investigator,
) -> Result<(), Failure> {
    let active = match order.only() {
        Some("active") => true,
        Some("disabled") => false,
        _ => return Err(Failure::usage("must be 'apikey <active|disabled>'")),
    };
    if active && !one.apikey.is_empty() {
        console.say("investigator already has an assigned API key");
        if !console.confirm("generate new key?").await? {
            console.say("abort");
            return Ok(());
        }
    }
    let answer = update(console, one, InvestigatorChange::ApiKey(active)).await?;
    if active {
        // Shown this once; the platform keeps a hash.
        let key = printable(&answer.apikey);
        console.say(&format!("API key for investigator set to \"{key}\""));
    } else {
        console.say("API key for investigator disabled");
    }
    Ok(())
}

async fn last_actions(
    console: &mut Console,
    id: InvestigatorId,
    count: usize,
) -> Result<(), Failure> {
    let text = format!("investigatorid={id} limit={}", count.max(1));
    let search = Search::conditions(Kind::Action, &text, console.now())
        .map_err(|error| Failure::other(error.to_string()))?;
    let Found::Actions(actions) = console.call(console.api.find(&search)).await? else {
        return Ok(());
    };
    if actions.is_empty() {
        console.say("no action found");
        return Ok(());
    }
    console.screen.row(
        "----- ID ----- + --------    Action Name ------- + ----------- Target   ---------- + \
         ----    Date    ---- +  -- Status --",
    );
    for action in &actions {
        console.screen.row(&format!(
            "{}     {}   {}   {}    {}",
            action.id,
            left(&action.name, 30),
            left(&action.target, 30),
            seconds(action.starttime),
            action.status.map_or("", ActionStatus::as_str)
        ));
    }
    for action in actions.iter().rev() {
        console.saw(Kind::Action, &action.id);
    }
    Ok(())
}
