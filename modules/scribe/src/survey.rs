//! Collects what the objects of a document stand for.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use mig_host::fs::Root;
use mig_host::pkg::{self, inventory};
use mig_module::{Budget, Host, ModuleError};
use mig_module_file::Wanted;

use crate::bounds::MAX_CHAIN;
use crate::files::{FACT_BYTES, Fact, Found, Job, Look, Room, gather, text};
use crate::notes::Notes;
use crate::params::{CHAIN_ROOT, Document, FileContent, Object, Package, Source};
use crate::shelf::Shelf;
use crate::variables::expand;
use crate::version;

/// The facts of an object, or why there are none.
pub(crate) type Facts = Result<Arc<Vec<Fact>>, String>;

/// An object and, for one that only makes sense below a file, the directory of
/// that file.
type Key = (usize, Option<String>);

/// Collected facts; everything is collected at most once.
pub(crate) struct Survey<'a> {
    document: &'a Document,
    host: &'a dyn Host,
    budget: &'a Budget,
    /// The first object of each name.
    places: HashMap<&'a str, usize>,
    /// Before chains and concatenation, by place.
    own: HashMap<usize, Result<Found, String>>,
    /// `None` while it is being worked out.
    done: HashMap<Key, Option<Facts>>,
    packages: Option<Installed>,
    shelf: Shelf,
    room: Room,
    pub(crate) notes: Notes,
}

/// What is installed, also by name.
struct Installed {
    all: Vec<pkg::Package>,
    by_name: HashMap<String, Vec<usize>>,
}

impl<'a> Survey<'a> {
    pub(crate) fn new(document: &'a Document, host: &'a dyn Host, budget: &'a Budget) -> Self {
        let mut places = HashMap::new();
        for (place, object) in document.objects.iter().enumerate() {
            places.entry(&*object.object).or_insert(place);
        }
        Self {
            document,
            host,
            budget,
            places,
            own: HashMap::new(),
            done: HashMap::new(),
            packages: None,
            shelf: Shelf::default(),
            room: Room::default(),
            notes: Notes::default(),
        }
    }

    /// Collects everything that tests will ask for, files in one walk.
    pub(crate) fn prepare(&mut self) {
        let mut jobs = Vec::new();
        let mut owners = Vec::new();
        for place in self.needed() {
            let Some(object) = self.document.objects.get(place) else { continue };
            let found = match object.source() {
                Some(Source::Package(package)) => self.packages(package),
                Some(Source::Raw(raw)) => {
                    let fact = |entry: &crate::params::RawIdentifier| Fact {
                        identifier: entry.identifier.as_str().into(),
                        value: entry.value.clone(),
                    };
                    Ok(Found {
                        facts: raw.identifiers.iter().map(fact).collect(),
                        ..Found::default()
                    })
                }
                _ => match self.job(object) {
                    Ok(job) => {
                        jobs.push(job);
                        owners.push(place);
                        continue;
                    }
                    Err(reason) => Err(reason),
                },
            };
            self.own.insert(place, found);
        }
        let gathered = gather(self.host, self.budget, &jobs, &self.room, &self.notes);
        self.own.extend(owners.into_iter().zip(gathered));
    }

    /// The facts of the object of this name, as a test sees them.
    pub(crate) fn facts(&mut self, name: &str) -> Facts {
        let place = *self.places.get(name).ok_or_else(|| format!("unknown object {name:?}"))?;
        if self.document.objects.get(place).is_none_or(Object::is_chained) {
            return Err("object not prepared".to_owned());
        }
        self.complete((place, None), 0)
    }

    /// Objects that tests name, and those that these import, but not those that
    /// only make sense below a file.
    fn needed(&self) -> Vec<usize> {
        let tested = self.document.tests.iter().map(|test| &*test.object);
        let mut waiting: Vec<&str> = tested.collect();
        let mut seen = HashSet::new();
        while let Some(name) = waiting.pop() {
            if let Some(place) = self.places.get(name)
                && seen.insert(*place)
                && let Some(object) = self.document.objects.get(*place)
            {
                waiting.extend(object.chain().iter().map(String::as_str));
            }
        }
        let plain = |place: &usize| {
            self.document.objects.get(*place).is_some_and(|object| !object.is_chained())
        };
        let mut needed: Vec<usize> = seen.into_iter().filter(plain).collect();
        needed.sort_unstable();
        needed
    }

    /// What an object that looks at files has to do.
    fn job(&mut self, object: &Object) -> Result<Job, String> {
        let variables = &self.document.variables;
        let (path, name, look) = match object.source() {
            Some(Source::Content(content)) => {
                let look = Look::Content(self.shelf.get(&content.expression)?);
                (&content.path, expand(&content.file, variables)?, look)
            }
            Some(Source::Line(line)) => {
                let look = Look::Line(self.shelf.get(&line.expression)?);
                (&line.path, expand(&line.file, variables)?, look)
            }
            // Variables do not count in names that are matched themselves.
            Some(Source::Name(name)) => {
                let look = Look::Name(self.shelf.get(&name.file)?);
                (&name.path, name.file.clone(), look)
            }
            _ => return Err("object not prepared".to_owned()),
        };
        self.shelf.get(crate::shelf::without_bang(&name))?;
        let path = expand(path, variables)?;
        Ok(Job { wanted: Wanted { path, name }, look })
    }

    /// The facts of an object with all that it imports.
    fn complete(&mut self, key: Key, depth: usize) -> Facts {
        match self.done.get(&key) {
            Some(Some(facts)) => return facts.clone(),
            Some(None) => return Err("its import-chain leads back to itself".to_owned()),
            None => {}
        }
        if depth > MAX_CHAIN {
            return Err(format!("its import-chain is deeper than {MAX_CHAIN}"));
        }
        self.done.insert(key.clone(), None);
        let facts = self.work_out(&key, depth).map(Arc::new);
        self.done.insert(key, Some(facts.clone()));
        facts
    }

    fn work_out(&mut self, key: &Key, depth: usize) -> Result<Vec<Fact>, String> {
        let object = self.document.objects.get(key.0).ok_or("object not prepared")?;
        let found = match (&key.1, object.source()) {
            (Some(root), Some(Source::Content(content))) => self.below(content, root)?,
            // Nobody else asks for what it found itself.
            _ => {
                self.own.remove(&key.0).unwrap_or_else(|| Err("object not prepared".to_owned()))?
            }
        };
        let mut facts = found.facts;
        for path in &found.matched {
            if object.chain().is_empty() {
                break;
            }
            let identifier: Arc<str> = text(path).into();
            for name in object.chain() {
                let imported = self.imported(name, path, depth)?;
                for fact in imported.iter() {
                    self.room.take(FACT_BYTES + fact.value.len())?;
                    let value = fact.value.clone();
                    facts.push(Fact { identifier: Arc::clone(&identifier), value });
                }
            }
        }
        match object.source() {
            Some(Source::Content(content)) if !content.concat.is_empty() => {
                self.joined(facts, &content.concat)
            }
            _ => Ok(facts),
        }
    }

    fn imported(&mut self, name: &str, from: &Path, depth: usize) -> Facts {
        if self.budget.is_over() {
            return Err(ModuleError::Deadline.one_line());
        }
        let place = *self.places.get(name).ok_or_else(|| format!("unknown object {name:?}"))?;
        let chained = self.document.objects.get(place).is_some_and(Object::is_chained);
        let root = chained.then(|| {
            let directory = text(from.parent().unwrap_or(Path::new("")));
            if directory.ends_with('/') { directory } else { format!("{directory}/") }
        });
        self.complete((place, root), depth + 1)
    }

    /// What an object finds below the directory of a file that imports it.
    fn below(&mut self, content: &FileContent, root: &str) -> Result<Found, String> {
        let look = Look::Content(self.shelf.get(&content.expression)?);
        let root = crate::params::Variable {
            key: CHAIN_ROOT.trim_matches(['$', '{', '}']).to_owned(),
            value: root.to_owned(),
        };
        let path = expand(&content.path, &[root])?;
        let job = Job { wanted: Wanted { path, name: content.file.clone() }, look };
        let found = gather(self.host, self.budget, &[job], &self.room, &self.notes);
        found.into_iter().next().unwrap_or_else(|| Ok(Found::default()))
    }

    /// One fact per identifier, its values joined. Empty values in front leave
    /// no trace.
    fn joined(&self, facts: Vec<Fact>, separator: &str) -> Result<Vec<Fact>, String> {
        let mut joined: Vec<Fact> = Vec::new();
        let mut places: HashMap<Arc<str>, usize> = HashMap::new();
        for fact in facts {
            let place = places.get(&fact.identifier).copied();
            let Some(known) = place.and_then(|place| joined.get_mut(place)) else {
                places.insert(Arc::clone(&fact.identifier), joined.len());
                joined.push(fact);
                continue;
            };
            if !known.value.is_empty() {
                self.room.take(separator.len() + fact.value.len())?;
                known.value.push_str(separator);
            }
            known.value.push_str(&fact.value);
        }
        Ok(joined)
    }

    fn packages(&mut self, package: &Package) -> Result<Found, String> {
        let name = expand(&package.name, &self.document.variables)?;
        let regex = match package.collectmatch.as_str() {
            "" => None,
            expression => Some(self.shelf.get(expression)?),
        };
        self.budget.check().map_err(|error| error.one_line())?;
        if self.packages.is_none() {
            self.packages = Some(self.inventory()?);
        }
        let Some(installed) = &self.packages else { return Ok(Found::default()) };
        let mut chosen: Vec<&pkg::Package> = if let Some(regex) = &regex {
            let matches = |known: &&pkg::Package| regex.is_match(known.name.as_bytes());
            installed.all.iter().filter(matches).collect()
        } else {
            let places = installed.by_name.get(&name).map(Vec::as_slice).unwrap_or_default();
            places.iter().filter_map(|place| installed.all.get(*place)).collect()
        };
        if package.onlynewest {
            let mut newest: Option<&pkg::Package> = None;
            for candidate in chosen {
                let newer = match newest {
                    None => true,
                    Some(newest) => version::compare(&candidate.version, &newest.version)
                        .map_err(|error| error.to_string())?
                        .is_gt(),
                };
                if newer {
                    newest = Some(candidate);
                }
            }
            chosen = newest.into_iter().collect();
        }
        let mut found = Found::default();
        for package in chosen {
            self.room.take(FACT_BYTES + package.name.len() + package.version.len())?;
            let (identifier, value) = (package.name.as_str().into(), package.version.clone());
            found.facts.push(Fact { identifier, value });
        }
        Ok(found)
    }

    fn inventory(&self) -> Result<Installed, String> {
        let path = self.host.path("/".as_ref());
        let root = Root::open(&path).map_err(|error| {
            format!("cannot open {}: {}", path.display(), mig_host::fs::reason(&error))
        })?;
        let found = inventory(&root, &|| self.budget.is_over());
        for error in found.errors {
            self.notes.say(error);
        }
        self.budget.check().map_err(|error| error.one_line())?;
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (place, package) in found.packages.iter().enumerate() {
            by_name.entry(package.name.clone()).or_default().push(place);
        }
        Ok(Installed { all: found.packages, by_name })
    }
}
