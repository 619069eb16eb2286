//! Launches actions at a swarm and waits for their ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mig_client::launch::{self, LaunchError};
use mig_client::{ApiClient, ClientError, Signer};
use mig_runtime::clock::Clock;
use mig_types::{Action, ActionId, ActionStatus, Operation};
use serde::Serialize;
use serde_json::json;
use tokio::time::sleep;

/// Between two looks at the actions that are not over yet.
const LOOK: Duration = Duration::from_millis(100);
/// Before a POST that failed is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// Actions to launch.
#[derive(Debug, Clone)]
pub struct Question {
    pub target: String,
    pub actions: usize,
    /// Between two launches.
    pub every: Duration,
    /// How long an action is valid; what is not answered then has expired.
    pub validity: Duration,
    /// For all of it.
    pub limit: Duration,
    /// Whether a launch that failed is tried again: the platform is being
    /// shaken on purpose.
    pub stubborn: bool,
}

/// One action that was launched.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Asked {
    pub id: ActionId,
    /// From the start of its POST until every command had ended; `None` when
    /// that did not happen in time.
    pub took: Option<Duration>,
}

/// Why no question could be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    #[error("the action cannot be launched")]
    Launch(#[source] LaunchError),
    #[error("the API did not take the action")]
    Post(#[source] ClientError),
}

/// Launches the actions and waits until each is over or the time is up.
/// `progress` hears, now and then, how many are over.
///
/// # Errors
///
/// [`AskError`] when an action cannot be launched.
pub async fn ask(
    api: &ApiClient,
    signer: &dyn Signer,
    clock: &Arc<dyn Clock>,
    question: &Question,
    progress: &(dyn Fn(usize) + Sync),
) -> Result<Vec<Asked>, AskError> {
    let begun = Instant::now();
    let mut asked: Vec<(Instant, Asked)> = Vec::with_capacity(question.actions);
    let mut next = begun;
    while begun.elapsed() < question.limit {
        if asked.len() < question.actions && next <= Instant::now() {
            next += question.every;
            let start = Instant::now();
            let name = format!("swarm {}", asked.len() + 1);
            match post(api, signer, clock, question, name).await {
                Ok(id) => asked.push((start, Asked { id, took: None })),
                Err(AskError::Post(error)) if question.stubborn => {
                    tracing::info!("launched again: {error}");
                    sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
        for (start, action) in asked.iter_mut().filter(|(_, action)| action.took.is_none()) {
            // An API that is away for a moment is asked again.
            let Ok(state) = api.action(action.id).await else { continue };
            if state.status.is_some_and(ActionStatus::is_final) {
                action.took = Some(start.elapsed());
            }
        }
        let over = asked.iter().filter(|(_, action)| action.took.is_some()).count();
        progress(over);
        if over == question.actions {
            break;
        }
        let launch = if asked.len() < question.actions {
            next.saturating_duration_since(Instant::now())
        } else {
            LOOK
        };
        sleep(launch.min(LOOK)).await;
    }
    Ok(asked.into_iter().map(|(_, action)| action).collect())
}

/// Launches one action: a light question with one operation.
async fn post(
    api: &ApiClient,
    signer: &dyn Signer,
    clock: &Arc<dyn Clock>,
    question: &Question,
    name: String,
) -> Result<ActionId, AskError> {
    let mut action = Action {
        name,
        target: question.target.clone(),
        operations: Some(vec![Operation {
            module: "file".to_owned(),
            parameters: json!({ "searches": { "s1": {
                "paths": ["/etc"],
                "names": ["^passwd$"],
                "options": { "matchall": true, "maxdepth": 1 }
            } } }),
            ..Operation::default()
        }]),
        ..Action::default()
    };
    launch::set_times(&mut action, clock.now(), question.validity);
    launch::sign_action(&mut action, signer, clock.now()).await.map_err(AskError::Launch)?;
    Ok(api.post_action(&action).await.map_err(AskError::Post)?.id)
}
