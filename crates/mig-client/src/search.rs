//! Searches as people write them: `agent where name=web* and status=online`.
//!
//! The original's API fails on searches without an effective condition and on
//! actions by status; what is sent here works there too.

use std::collections::HashSet;
use std::hash::Hash;

use mig_types::{
    Action, Agent, Command, Investigator, Loader, ManifestRecord, Timestamp, duration,
};
use serde::de::DeserializeOwned;

use crate::api::{ApiClient, ClientError};

/// Results when nobody says how many.
const DEFAULT_LIMIT: usize = 100;
/// Hours each way that an API searches when nobody says when.
const WINDOW_HOURS: u64 = 39_600;
/// Most pages read to filter here.
const MAX_PAGES: usize = 200;

/// What is searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Action,
    Command,
    Agent,
    Investigator,
    Manifest,
    Loader,
}

impl Kind {
    pub const ALL: [Self; 6] = [
        Self::Action,
        Self::Command,
        Self::Agent,
        Self::Investigator,
        Self::Manifest,
        Self::Loader,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Command => "command",
            Self::Agent => "agent",
            Self::Investigator => "investigator",
            Self::Manifest => "manifest",
            Self::Loader => "loader",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// What `name` means for this kind.
    const fn own_name(self) -> &'static str {
        match self {
            Self::Action | Self::Command => "actionname",
            Self::Agent => "agentname",
            Self::Investigator => "investigatorname",
            Self::Manifest => "manifestname",
            Self::Loader => "loadername",
        }
    }

    const fn own_id(self) -> &'static str {
        match self {
            Self::Action => "actionid",
            Self::Command => "commandid",
            Self::Agent => "agentid",
            Self::Investigator => "investigatorid",
            Self::Manifest => "manifestid",
            Self::Loader => "loaderid",
        }
    }

    /// Statuses things of this kind have.
    pub const fn statuses(self) -> &'static [&'static str] {
        match self {
            Self::Action => {
                &["pending", "scheduled", "preparing", "invalid", "inflight", "completed"]
            }
            Self::Command => {
                &["prepared", "sent", "success", "timeout", "cancelled", "expired", "failed"]
            }
            Self::Agent => &["online", "upgraded", "destroyed", "offline", "idle"],
            Self::Investigator => &["active", "disabled"],
            Self::Manifest => &["active", "staged", "disabled"],
            Self::Loader => &[],
        }
    }
}

/// Names a search knows, whatever it searches.
pub const KEYS: [&str; 23] = [
    "name",
    "id",
    "status",
    "before",
    "after",
    "limit",
    "offset",
    "actionname",
    "actionid",
    "commandid",
    "agentname",
    "agentid",
    "agentversion",
    "version",
    "investigatorname",
    "investigatorid",
    "manifestname",
    "manifestid",
    "loadername",
    "loaderid",
    "threatfamily",
    "foundanything",
    "target",
];

/// Why a search makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SearchError {
    #[error("Invalid search '{0}'. Try `search help`.")]
    Kind(String),
    #[error("a quote is left open in the search")]
    OpenQuote,
    #[error("Invalid `key=value` in search parameter '{0}'")]
    Pair(String),
    #[error("Unknown search key '{0}'")]
    Key(String),
    #[error("{key} date not in RFC3339 format, ex: 2015-09-23T14:14:16Z")]
    Date { key: &'static str },
    #[error("invalid {key} parameter")]
    Number { key: &'static str },
    #[error("foundanything must be true or false, not '{0}'")]
    Found(String),
    #[error("{kind} has no status '{status}', only {}", known.join(", "))]
    Status { kind: &'static str, status: String, known: &'static [&'static str] },
}

/// A search, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    pub kind: Kind,
    pub after: Timestamp,
    pub before: Timestamp,
    /// Most results wanted.
    pub limit: usize,
    offset: usize,
    pairs: Vec<(&'static str, String)>,
    /// A pattern for the status of actions, which is compared here.
    status: Option<String>,
    /// Whether the end of the window was chosen.
    bounded: bool,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    Actions(Vec<Action>),
    Commands(Vec<Command>),
    Agents(Vec<Agent>),
    Investigators(Vec<Investigator>),
    Manifests(Vec<ManifestRecord>),
    Loaders(Vec<Loader>),
}

impl Found {
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Actions(found) => found.is_empty(),
            Self::Commands(found) => found.is_empty(),
            Self::Agents(found) => found.is_empty(),
            Self::Investigators(found) => found.is_empty(),
            Self::Manifests(found) => found.is_empty(),
            Self::Loaders(found) => found.is_empty(),
        }
    }
}

impl Search {
    /// Reads `agent where name=web* and status=online limit=5`. Conditions may
    /// be quoted; `where` and `and` may be left out.
    ///
    /// # Errors
    ///
    /// [`SearchError`] in words for whoever wrote it.
    ///
    /// ```
    /// # use mig_client::search::Search;
    /// # use mig_types::Timestamp;
    /// let now = Timestamp::parse("2026-06-01T12:00:00Z").unwrap();
    /// let search = Search::parse("agent where name=web* and after=2h limit=5", now).unwrap();
    /// assert_eq!((search.limit, search.after.to_string().as_str()), (5, "2026-06-01T10:00:00Z"));
    /// assert!(search.query().contains(&("agentname", "web%".to_owned())));
    /// ```
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, SearchError> {
        let words = split(text)?;
        let Some((kind, rest)) = words.split_first() else {
            return Err(SearchError::Kind(text.to_owned()));
        };
        let kind = Kind::parse(kind).ok_or_else(|| SearchError::Kind(text.to_owned()))?;
        let rest = match rest.split_first() {
            Some((word, rest)) if word == "where" => rest,
            _ => rest,
        };
        Self::of_words(kind, rest, now)
    }

    /// The conditions of a search alone: what may follow `where`.
    ///
    /// # Errors
    ///
    /// As [`Search::parse`].
    pub fn conditions(kind: Kind, text: &str, now: Timestamp) -> Result<Self, SearchError> {
        Self::of_words(kind, &split(text)?, now)
    }

    fn of_words(kind: Kind, words: &[String], now: Timestamp) -> Result<Self, SearchError> {
        let now = Timestamp::from_unix(now.unix(), 0).unwrap_or(now);
        let window = std::time::Duration::from_hours(WINDOW_HOURS);
        let mut search = Self {
            kind,
            after: now - window,
            before: now + window,
            limit: DEFAULT_LIMIT,
            offset: 0,
            pairs: Vec::new(),
            status: None,
            bounded: false,
        };
        for word in words.iter().filter(|word| *word != "and") {
            search.take(word, now)?;
        }
        Ok(search)
    }

    fn take(&mut self, word: &str, now: Timestamp) -> Result<(), SearchError> {
        let (key, value) = word
            .split_once('=')
            .filter(|(key, value)| !key.is_empty() && !value.is_empty())
            .ok_or_else(|| SearchError::Pair(word.to_owned()))?;
        let known = KEYS.iter().find(|known| **known == key);
        let key = *known.ok_or_else(|| SearchError::Key(key.to_owned()))?;
        match key {
            "name" => self.pairs.push((self.kind.own_name(), pattern(value))),
            "id" => self.number(self.kind.own_id(), value)?,
            "version" => self.pairs.push(("agentversion", pattern(value))),
            "before" => {
                self.before = date(value, now).ok_or(SearchError::Date { key })?;
                self.bounded = true;
            }
            "after" => self.after = date(value, now).ok_or(SearchError::Date { key })?,
            "limit" => {
                let limit = value.parse().ok().filter(|limit| *limit > 0);
                self.limit = limit.ok_or(SearchError::Number { key })?;
            }
            "offset" => self.offset = value.parse().map_err(|_| SearchError::Number { key })?,
            "status" => self.status(value)?,
            "foundanything" => {
                let word = value.to_ascii_lowercase();
                if word != "true" && word != "false" {
                    return Err(SearchError::Found(value.to_owned()));
                }
                self.pairs.push((key, word));
            }
            "target" => self.pairs.push((key, value.to_owned())),
            key if key.ends_with("id") => self.number(key, value)?,
            key => self.pairs.push((key, pattern(value))),
        }
        Ok(())
    }

    fn number(&mut self, key: &'static str, value: &str) -> Result<(), SearchError> {
        let id: mig_types::ActionId = value.parse().map_err(|_| SearchError::Number { key })?;
        self.pairs.push((key, id.to_string()));
        Ok(())
    }

    fn status(&mut self, value: &str) -> Result<(), SearchError> {
        let value = pattern(value);
        let known = self.kind.statuses();
        let plain = !value.contains(['%', '_']);
        if plain && !known.iter().any(|status| status.eq_ignore_ascii_case(&value)) {
            let kind = self.kind.as_str();
            return Err(SearchError::Status { kind, status: value, known });
        }
        if self.kind == Kind::Action {
            self.status = Some(value);
        } else {
            self.pairs.push(("status", value));
        }
        Ok(())
    }

    /// The query of the first page.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        self.page(self.offset, self.limit)
    }

    fn page(&self, offset: usize, limit: usize) -> Vec<(&'static str, String)> {
        // Inside the window an API searches anyway, and yet a condition.
        let always = std::time::Duration::from_hours(2);
        let before = if self.bounded { self.before } else { self.before - always };
        let mut query = vec![
            ("type", self.kind.as_str().to_owned()),
            ("after", self.after.to_string()),
            ("before", before.to_string()),
        ];
        query.extend(self.pairs.iter().cloned());
        query.push(("limit", limit.to_string()));
        if offset > 0 {
            query.push(("offset", offset.to_string()));
        }
        query
    }
}

impl ApiClient {
    /// What a search finds, each thing once.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; finding nothing is none.
    pub async fn find(&self, search: &Search) -> Result<Found, ClientError> {
        Ok(match search.kind {
            Kind::Action => Found::Actions(self.find_actions(search).await?),
            Kind::Command => {
                Found::Commands(self.page_of(search, |found: &Command| found.id).await?)
            }
            Kind::Agent => Found::Agents(self.page_of(search, |found: &Agent| found.id).await?),
            Kind::Investigator => {
                Found::Investigators(self.page_of(search, |found: &Investigator| found.id).await?)
            }
            Kind::Manifest => {
                Found::Manifests(self.page_of(search, |found: &ManifestRecord| found.id).await?)
            }
            Kind::Loader => Found::Loaders(self.page_of(search, |found: &Loader| found.id).await?),
        })
    }

    async fn find_actions(&self, search: &Search) -> Result<Vec<Action>, ClientError> {
        let Some(status) = &search.status else {
            return self.page_of(search, |found: &Action| found.id).await;
        };
        let size = search.limit.clamp(DEFAULT_LIMIT, 1000);
        let mut seen = HashSet::new();
        let mut wanted = Vec::new();
        for page in 0..MAX_PAGES {
            let query = search.page(search.offset + page * size, size);
            let found: Vec<Action> = self.search("action", &borrowed(&query)).await?;
            let last = found.is_empty();
            wanted.extend(found.into_iter().filter(|action| {
                let is = action.status.map_or("", mig_types::ActionStatus::as_str);
                seen.insert(action.id) && like(status, is)
            }));
            if last || wanted.len() >= search.limit {
                break;
            }
        }
        wanted.truncate(search.limit);
        Ok(wanted)
    }

    async fn page_of<T: DeserializeOwned, I: Eq + Hash>(
        &self,
        search: &Search,
        id: impl Fn(&T) -> I,
    ) -> Result<Vec<T>, ClientError> {
        let query = search.query();
        let mut found: Vec<T> = self.search(search.kind.as_str(), &borrowed(&query)).await?;
        let mut seen = HashSet::new();
        found.retain(|thing| seen.insert(id(thing)));
        // Some APIs ignore it for some kinds.
        found.truncate(search.limit);
        Ok(found)
    }
}

fn borrowed<'a>(query: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    query.iter().map(|(key, value)| (*key, value.as_str())).collect()
}

/// The API's pattern: `%` for any text, which people write `*` too.
fn pattern(value: &str) -> String {
    value.replace('*', "%")
}

/// Whether a text is like a pattern, in any case.
fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.to_ascii_lowercase(), text.to_ascii_lowercase());
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    // Matches of the pattern so far that end at each place of the text.
    let mut ends = vec![false; text.len() + 1];
    if let Some(first) = ends.first_mut() {
        *first = true;
    }
    for wanted in pattern {
        let mut next = vec![false; text.len() + 1];
        let mut any = false;
        for (at, slot) in next.iter_mut().enumerate() {
            any |= ends.get(at).copied().unwrap_or(false);
            *slot = match wanted {
                '%' => any,
                _ => at.checked_sub(1).is_some_and(|before| {
                    let same = wanted == '_' || text.get(before) == Some(&wanted);
                    same && ends.get(before).copied().unwrap_or(false)
                }),
            };
        }
        ends = next;
    }
    ends.last().copied().unwrap_or(false)
}

/// RFC 3339, a day, or a period before now.
fn date(text: &str, now: Timestamp) -> Option<Timestamp> {
    let midnight = || Timestamp::parse(&format!("{text}T00:00:00Z")).ok();
    let ago = || duration::parse_period(text).ok().map(|period| now - period);
    Timestamp::parse(text).ok().or_else(midnight).or_else(ago)
}

/// Words between blanks; quotes keep blanks together and go away.
///
/// # Errors
///
/// [`SearchError::OpenQuote`].
pub fn split(text: &str) -> Result<Vec<String>, SearchError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut open = None;
    for c in text.chars() {
        match (open, c) {
            (Some(quote), c) if c == quote => open = None,
            (None, '\'' | '"') => {
                open = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if open.is_some() {
        return Err(SearchError::OpenQuote);
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> Timestamp {
        Timestamp::parse("2026-06-01T12:00:00.5Z").unwrap()
    }

    fn search(text: &str) -> Result<Search, SearchError> {
        Search::parse(text, now())
    }

    #[test]
    fn refuses_in_words_for_whoever_wrote_it() {
        for (text, reason) in [
            ("", "Invalid search ''"),
            ("agents where name=x", "Try `search help`"),
            ("agent where name", "Invalid `key=value` in search parameter 'name'"),
            ("agent where name=", "Invalid `key=value`"),
            ("agent where colour=red", "Unknown search key 'colour'"),
            ("agent where name='x", "quote"),
            ("agent where after=yesterday", "after date not in RFC3339"),
            ("agent where limit=0", "invalid limit parameter"),
            ("agent where id=x", "invalid agentid parameter"),
            ("agent where status=onlin", "agent has no status 'onlin', only online"),
            ("loader where status=x", "loader has no status"),
            ("command where foundanything=maybe", "true or false"),
        ] {
            let error = search(text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn every_search_has_a_condition_that_is_always_true() {
        for text in ["agent", "agent where name=%", "investigator limit=5"] {
            let query = search(text).unwrap().query();
            let before = ("before", "2030-12-07T10:00:00Z".to_owned());
            assert!(query.contains(&before), "{text}: {query:?}");
        }
        let shown = search("agent").unwrap();
        assert_eq!(shown.before.to_string(), "2030-12-07T12:00:00Z");
        assert_eq!(shown.after.to_string(), "2021-11-24T12:00:00Z");
    }

    #[test]
    fn names_belong_to_what_is_searched() {
        for (text, pair) in [
            ("action where name=%passwd%", ("actionname", "%passwd%")),
            ("command where name=x", ("actionname", "x")),
            ("manifest where name='my manifest'", ("manifestname", "my manifest")),
            ("loader where name=l*", ("loadername", "l%")),
            ("agent where version=2016*", ("agentversion", "2016%")),
            ("agent where  id=4.9e12", ("agentid", "4900000000000")),
            ("command where foundanything=TRUE", ("foundanything", "true")),
            ("agent \"target=tags->>'a'='b c'\"", ("target", "tags->>'a'='b c'")),
            ("command and status=failed", ("status", "failed")),
        ] {
            let query = search(text).unwrap().query();
            assert!(query.contains(&(pair.0, pair.1.to_owned())), "{text}: {query:?}");
        }
    }

    #[test]
    fn times_are_dates_days_or_ago() {
        for (text, after) in [
            ("after=2016-08-29T00:00:00+02:00", "2016-08-28T22:00:00Z"),
            ("after=2016-08-01", "2016-08-01T00:00:00Z"),
            ("after=90m", "2026-06-01T10:30:00Z"),
            ("after=2d", "2026-05-30T12:00:00Z"),
        ] {
            let found = search(&format!("action {text}")).unwrap();
            assert_eq!(found.after.to_string(), after, "{text}");
        }
    }

    #[test]
    fn the_status_of_actions_is_compared_here() {
        let found = search("action where status=inv*").unwrap();
        assert!(found.query().iter().all(|(key, _)| *key != "status"));
        assert_eq!(found.status.as_deref(), Some("inv%"));
        for (pattern, text, is) in [
            ("inv%", "invalid", true),
            ("%", "", true),
            ("completed", "Completed", true),
            ("in_light", "inflight", true),
            ("inflight", "inflightx", false),
            ("%a%d", "invalid", true),
            ("", "x", false),
        ] {
            assert_eq!(like(pattern, text), is, "{pattern} {text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_search_or_a_reason(text in ".{0,80}") {
            let _ = search(&text);
            let _ = search(&format!("agent where {text}"));
        }
    }
}
