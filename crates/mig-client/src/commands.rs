//! Commands of an action, page by page.

use std::collections::HashSet;

use mig_types::{ActionId, Command, CommandId, CommandStatus};

use crate::api::{ApiClient, ClientError};
use crate::items::Items;

/// Commands asked for at once.
const PAGE: usize = 200;

/// Most pages of one search: a bound for an API that never says "no more".
const MAX_PAGES: usize = 20_000;

/// Which commands of an action are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommandQuery {
    pub action: ActionId,
    /// Only successful commands in which at least one operation found
    /// something (`true`) or found nothing (`false`).
    pub foundanything: Option<bool>,
    pub status: Option<CommandStatus>,
}

impl CommandQuery {
    /// All commands of one action.
    pub fn of(action: ActionId) -> Self {
        Self { action, ..Self::default() }
    }
}

/// Commands as they come in, each once: pages can overlap, and miss a row,
/// because many commands share a start time.
pub struct Commands<'a> {
    client: &'a ApiClient,
    query: CommandQuery,
    page: Option<Items<Command>>,
    /// Pages asked for in all, and since the beginning of this round.
    asked: usize,
    pages: usize,
    in_page: usize,
    seen: HashSet<CommandId>,
    /// How many there should be; read again, once, when they are fewer.
    expected: usize,
    ended: bool,
}

impl ApiClient {
    /// Commands a query asks for, one after the other.
    pub fn each_command(&self, query: CommandQuery) -> Commands<'_> {
        Commands {
            client: self,
            query,
            page: None,
            asked: 0,
            pages: 0,
            in_page: 0,
            seen: HashSet::new(),
            expected: 0,
            ended: false,
        }
    }

    /// One page of commands.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn commands_page(
        &self,
        query: &CommandQuery,
        offset: usize,
        limit: usize,
    ) -> Result<Vec<Command>, ClientError> {
        self.command_items(query, offset, limit).await?.all().await
    }

    /// All commands a query asks for, each once.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn commands(&self, query: &CommandQuery) -> Result<Vec<Command>, ClientError> {
        let mut each = self.each_command(*query);
        let mut all = Vec::new();
        while let Some(command) = each.next().await? {
            all.push(command);
        }
        Ok(all)
    }

    async fn command_items(
        &self,
        query: &CommandQuery,
        offset: usize,
        limit: usize,
    ) -> Result<Items<Command>, ClientError> {
        let (action, offset, limit) =
            (query.action.to_string(), offset.to_string(), limit.to_string());
        let mut pairs = vec![
            ("type", "command"),
            ("limit", limit.as_str()),
            ("offset", offset.as_str()),
            ("actionid", action.as_str()),
        ];
        if let Some(found) = query.foundanything {
            pairs.push(("foundanything", if found { "true" } else { "false" }));
        }
        if let Some(status) = query.status {
            pairs.push(("status", status.as_str()));
        }
        self.search_items("command", &pairs).await
    }
}

impl Commands<'_> {
    /// Says how many there should be.
    #[must_use]
    pub fn expecting(mut self, count: u64) -> Self {
        self.expected = usize::try_from(count).unwrap_or(usize::MAX);
        self
    }

    /// The next command; `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`ClientError`].
    pub async fn next(&mut self) -> Result<Option<Command>, ClientError> {
        while !self.ended {
            let page = if let Some(page) = &mut self.page {
                page
            } else {
                let offset = self.pages * PAGE;
                let items = self.client.command_items(&self.query, offset, PAGE).await?;
                self.page.insert(items)
            };
            match page.next().await? {
                Some(command) => {
                    self.in_page += 1;
                    if self.seen.insert(command.id) {
                        return Ok(Some(command));
                    }
                }
                None => self.turn(),
            }
        }
        Ok(None)
    }

    /// To the next page, or to the end.
    fn turn(&mut self) {
        self.page = None;
        self.asked += 1;
        self.pages += 1;
        if std::mem::take(&mut self.in_page) > 0 && self.asked < MAX_PAGES {
            return;
        }
        let short = self.seen.len() < self.expected;
        self.ended = !short || self.asked != self.pages;
        self.pages = 0;
    }
}
