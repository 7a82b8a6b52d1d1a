//! The import from a Barbican's database: what is read, what is left out, and in which order.
//!
//! Two passes over one state of the database. The first writes nothing: it opens every project's key that a secret needs,
//! so that a wrong key-encryption key is found before anything is written. The second imports secrets, then containers,
//! then quotas, each object as a whole by the manager. Refuses to guess: what is not understood stays out and is named.

mod convert;
mod keys;
mod report;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashSet};

use chatelaine_core::clock::{Clock, Timestamp};
use chatelaine_core::keyring::Keyring;
use chatelaine_core::manager::{Existing, ImportedDocument, ImportedSecret, Manager, Standing};
use chatelaine_core::store::Store;
use chatelaine_crypto::FernetKey;
use chatelaine_store::barbican::{Address, ContainerRow, SecretRow, Source, SourceError, Totals};
use futures_util::{StreamExt as _, stream};

use convert::Omission;
use keys::{KeyProblem, Keys};
pub use report::{Conflict, Counts, LeftOut, Reason, Report, Sort};

/// Objects on their way into the store at once: they share the waits for the disk.
const AT_ONCE: usize = 32;

/// Why an import ended early.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The database cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// None of the given keys opens the keys of these projects.
    #[error(
        "none of the {given} given key-encryption keys opens the keys of {} projects ({}): nothing was imported",
        projects.len(), few(projects)
    )]
    Unopened {
        /// How many were given.
        given: usize,
        /// The projects, by their ids in the identity service.
        projects: BTreeSet<String>,
    },
    /// The store or the audit trail does not take it. What was imported until then stays.
    #[error("{0}")]
    Store(#[from] chatelaine_core::Error),
}

fn few(projects: &BTreeSet<String>) -> String {
    const FEW: usize = 5;
    let mut text = projects.iter().take(FEW).map(String::as_str).collect::<Vec<_>>().join(", ");
    if projects.len() > FEW {
        text.push_str(", …");
    }
    text
}

/// Where objects go.
#[derive(Clone, Copy)]
pub enum Target<'a> {
    /// Into the store, through the one door.
    Manager(&'a Manager),
    /// Nowhere; what is in this store already is told.
    Compared(&'a dyn Store, &'a Keyring),
    /// Nowhere, and there is nothing to compare with.
    Nothing,
}

impl Target<'_> {
    /// The object's id, and what is here under it.
    async fn take(self, object: Object, existing: Existing) -> (String, chatelaine_core::Result<Standing>) {
        match object {
            Object::Secret(secret) => (secret.id.to_string(), self.secret(&secret, existing).await),
            Object::Document(document) => {
                let standing = self.document(&document, existing).await;
                (document.document.id, standing)
            }
        }
    }

    async fn secret(self, secret: &ImportedSecret, existing: Existing) -> chatelaine_core::Result<Standing> {
        match self {
            Self::Manager(manager) => manager.import_secret(secret, existing).await,
            Self::Compared(store, keyring) => secret.standing(store, keyring, existing).await,
            Self::Nothing => Ok(Standing::Absent),
        }
    }

    async fn document(
        self,
        document: &ImportedDocument,
        existing: Existing,
    ) -> chatelaine_core::Result<Standing> {
        match self {
            Self::Manager(manager) => manager.import_document(document, existing).await,
            Self::Compared(store, keyring) => document.standing(store, keyring, existing).await,
            Self::Nothing => Ok(Standing::Absent),
        }
    }
}

/// What comes in pages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Paged {
    Secrets,
    Containers,
}

/// What was read of one object.
enum Row {
    Secret(SecretRow),
    Container(ContainerRow),
}

impl Row {
    fn id(&self) -> &str {
        match self {
            Self::Secret(row) => &row.id,
            Self::Container(row) => &row.id,
        }
    }
}

/// What comes of it.
enum Object {
    Secret(Box<ImportedSecret>),
    Document(Box<ImportedDocument>),
}

/// How far an import has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: &'static str,
    /// Objects done in this stage.
    pub done: u64,
    /// Objects of this stage.
    pub of: u64,
}

/// What an import goes by.
#[derive(Debug, Clone, Copy)]
pub struct Choices {
    /// Largest payload that is taken, in bytes.
    pub max_payload: usize,
    /// What to do about objects whose id is taken.
    pub existing: Existing,
    /// Leave out secrets of projects whose keys no given key opens, instead of refusing to begin.
    pub leave_out_unopened: bool,
}

/// An import that has looked at everything and could begin.
pub struct Import {
    source: Source,
    keys: Keys,
    choices: Choices,
    now: Timestamp,
    totals: Totals,
    /// Secrets that stay out although they are not deleted.
    missing: HashSet<String>,
    report: Report,
}

impl Import {
    /// Opens the database and makes the first pass.
    ///
    /// # Errors
    /// [`ImportError::Source`], [`ImportError::Unopened`].
    pub async fn prepare(
        address: &Address,
        keys: Vec<FernetKey>,
        choices: Choices,
        clock: &dyn Clock,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Self, ImportError> {
        let mut source = Source::open(address).await?;
        let keys = Keys::new(keys, source.keks().await?);
        let totals = source.totals().await?;
        let report = Report { source: address.describe().to_owned(), ..Report::default() };
        let missing = HashSet::new();
        let mut import = Self { source, keys, choices, now: clock.now(), totals, missing, report };
        import.survey(progress).await?;
        Ok(import)
    }

    async fn survey(&mut self, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<(), ImportError> {
        let mut unopened = BTreeSet::new();
        let (mut after, mut done) = (None, 0_u64);
        loop {
            let page = self.source.secrets(after.as_deref()).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.id.clone());
            for row in page {
                done = done.saturating_add(1);
                let (id, deleted) = (row.id.clone(), row.deleted);
                let problem = match convert::secret(row, self.now) {
                    Ok(sealed) => sealed.payload.and_then(|payload| {
                        let problem = self.keys.project_key(&payload).err()?;
                        if problem == KeyProblem::Unopened {
                            unopened.insert(sealed.secret.metadata.project);
                        }
                        Some(convert::omitted(problem))
                    }),
                    Err(omission) => Some(omission),
                };
                if problem.is_some() && !deleted {
                    self.missing.insert(id);
                }
            }
            progress(Progress { stage: "secrets looked at", done, of: self.totals.secrets });
        }
        if unopened.is_empty() || self.choices.leave_out_unopened {
            return Ok(());
        }
        Err(ImportError::Unopened { given: self.keys.count(), projects: unopened })
    }

    /// The second pass.
    ///
    /// # Errors
    /// [`ImportError::Source`], [`ImportError::Store`]: what was imported until then stays, and another run goes on.
    pub async fn run(
        mut self,
        target: Target<'_>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<Report, ImportError> {
        self.report.dry_run = !matches!(target, Target::Manager(_));
        self.report.orders_left_out = self.totals.orders;
        // Secrets first: containers tell which of them stayed out.
        self.all(Paged::Secrets, target, progress).await?;
        self.all(Paged::Containers, target, progress).await?;
        self.quotas(target).await?;
        Ok(self.report)
    }

    /// Everything of one kind, page by page.
    async fn all(
        &mut self,
        paged: Paged,
        target: Target<'_>,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> Result<(), ImportError> {
        let (sort, stage, of) = match paged {
            Paged::Secrets => (Sort::Secret, "secrets", self.totals.secrets),
            Paged::Containers => (Sort::Container, "containers", self.totals.containers),
        };
        let (mut after, mut done) = (None, 0_u64);
        loop {
            let after_it = after.as_deref();
            let page: Vec<Row> = match paged {
                Paged::Secrets => self.source.secrets(after_it).await?.into_iter().map(Row::Secret).collect(),
                Paged::Containers => {
                    self.source.containers(after_it).await?.into_iter().map(Row::Container).collect()
                }
            };
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.id().to_owned());
            let mut ready = Vec::new();
            for row in page {
                let id = row.id().to_owned();
                match self.convert(row) {
                    Ok(object) => ready.push(object),
                    Err(omission) => {
                        done = done.saturating_add(1);
                        if paged == Paged::Secrets && omission.0 != Reason::Deleted {
                            self.missing.insert(id.clone());
                        }
                        self.report.leave_out(sort, &id, omission);
                    }
                }
            }
            let existing = self.choices.existing;
            let mut arriving = stream::iter(ready)
                .map(async |object| target.take(object, existing).await)
                .buffer_unordered(AT_ONCE);
            while let Some((id, standing)) = arriving.next().await {
                tell(&mut self.report, sort, &id, standing)?;
                done = done.saturating_add(1);
                progress(Progress { stage, done, of });
            }
        }
    }

    fn convert(&mut self, row: Row) -> Result<Object, Omission> {
        match row {
            Row::Secret(row) => {
                let sealed = convert::secret(row, self.now)?;
                let secret = convert::open(sealed, &mut self.keys, self.now, self.choices.max_payload)?;
                Ok(Object::Secret(Box::new(secret)))
            }
            Row::Container(row) => {
                let (id, incomplete) = (row.id.clone(), self.is_incomplete(&row));
                let container = convert::container(row)?;
                if incomplete {
                    self.report.incomplete_containers.push(id);
                }
                Ok(Object::Document(Box::new(container)))
            }
        }
    }

    fn is_incomplete(&self, row: &ContainerRow) -> bool {
        row.secrets.iter().any(|link| self.missing.contains(&link.secret_id))
    }

    async fn quotas(&mut self, target: Target<'_>) -> Result<(), ImportError> {
        for row in self.source.quotas().await? {
            let id = row.project.clone().unwrap_or_else(|| row.id.clone());
            match convert::quota(row) {
                Ok(quota) => {
                    let standing = target.document(&quota, self.choices.existing).await;
                    tell(&mut self.report, Sort::ProjectQuota, &id, standing)?;
                }
                Err(omission) => self.report.leave_out(Sort::ProjectQuota, &id, omission),
            }
        }
        Ok(())
    }
}

fn tell(
    report: &mut Report,
    kind: Sort,
    id: &str,
    standing: chatelaine_core::Result<Standing>,
) -> Result<(), ImportError> {
    match standing {
        Ok(Standing::Absent) => {
            let counts = report.counts(kind);
            counts.imported = counts.imported.saturating_add(1);
        }
        Ok(Standing::Present) => {
            let counts = report.counts(kind);
            counts.present = counts.present.saturating_add(1);
        }
        Ok(Standing::Conflict(how)) => report.conflict(kind, id, how),
        // It expired since it was looked at.
        Err(error @ chatelaine_core::Error::Invalid { .. }) => {
            report.leave_out(kind, id, (Reason::Limit, error.to_string()));
        }
        // One object here that does not open is no reason to leave all others out.
        Err(chatelaine_core::Error::Corrupt(_)) => {
            report.conflict(kind, id, "what is here under its id is damaged: run `chatelaine store check`");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
