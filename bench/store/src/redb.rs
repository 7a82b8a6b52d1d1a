//! The record store as it would be on redb: one table of records and one for each index that the records here are in.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use chatelaine_core::clock::Timestamp;
use chatelaine_core::id::Version;
use chatelaine_core::store::{IndexAttributes, Kind, Record};
use redb::{Database, ReadableDatabase as _, TableDefinition};

type Place<'a> = (&'a str, &'a str, i64, &'a str);

const RECORDS: TableDefinition<'_, (&str, &str), &[u8]> = TableDefinition::new("records");
const BY_CREATION: TableDefinition<'_, (&str, i64, &str), ()> = TableDefinition::new("by_creation");
const BY_PROJECT: TableDefinition<'_, Place<'_>, ()> = TableDefinition::new("by_project");
const BY_OWNER: TableDefinition<'_, Place<'_>, ()> = TableDefinition::new("by_owner");

/// The cache, in bytes: what the embedded store's connections may take together on a machine with 2 cores.
const CACHE: usize = 56 << 20;

/// A database of redb.
pub struct Redb(Database);

impl Redb {
    /// Makes it.
    pub fn create(path: &Path) -> Result<Self> {
        Ok(Self(Database::builder().set_cache_size(CACHE).create(path)?))
    }

    /// Makes records in one durable transaction, each under the condition that there is none of its id.
    pub fn create_records(&self, batch: &[Record]) -> Result<()> {
        let transaction = self.0.begin_write()?;
        {
            let mut records = transaction.open_table(RECORDS)?;
            let mut by_creation = transaction.open_table(BY_CREATION)?;
            let mut by_project = transaction.open_table(BY_PROJECT)?;
            let mut by_owner = transaction.open_table(BY_OWNER)?;
            for record in batch {
                let (kind, id, created) =
                    (record.kind.as_str(), record.id.as_str(), record.created.as_micros());
                ensure!(
                    records.insert((kind, id), encode(record).as_slice())?.is_none(),
                    "{id} was there before"
                );
                by_creation.insert((kind, created, id), ())?;
                by_project.insert((kind, record.project.as_str(), created, id), ())?;
                if let Some(owner) = &record.attributes.owner {
                    by_owner.insert((kind, owner.as_str(), created, id), ())?;
                }
            }
        }
        // Immediate durability, with a flush, is the default.
        Ok(transaction.commit()?)
    }

    /// One record.
    pub fn read(&self, kind: &Kind, id: &str) -> Result<Option<Record>> {
        let records = self.0.begin_read()?.open_table(RECORDS)?;
        records.get((kind.as_str(), id))?.map(|found| decode(kind, id, found.value())).transpose()
    }

    /// A page of an owner's records, from a place on.
    pub fn list(&self, kind: &Kind, owner: &str, from: (i64, &str), limit: usize) -> Result<Vec<Record>> {
        let transaction = self.0.begin_read()?;
        let (records, by_owner) = (transaction.open_table(RECORDS)?, transaction.open_table(BY_OWNER)?);
        let kind_text = kind.as_str();
        let mut page = Vec::with_capacity(limit);
        for entry in by_owner.range((kind_text, owner, from.0, from.1)..)? {
            let (place, ()) = {
                let (place, _) = entry?;
                (place, ())
            };
            let (found_kind, found_owner, created, id) = place.value();
            if (found_kind, found_owner) != (kind_text, owner) || page.len() == limit {
                break;
            }
            if (created, id) == from {
                continue;
            }
            let found = records.get((kind_text, id))?.context("the index names no record")?;
            page.push(decode(kind, id, found.value())?);
        }
        Ok(page)
    }
}

fn encode(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(record.body.len() + 160);
    bytes.extend_from_slice(&record.created.as_micros().to_be_bytes());
    bytes.extend_from_slice(&record.version.number().to_be_bytes());
    let attributes = &record.attributes;
    for text in [
        Some(&record.project),
        attributes.owner.as_ref(),
        attributes.state.as_ref(),
        attributes.class.as_ref(),
    ] {
        let text = text.map_or("", String::as_str);
        bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(&record.body);
    bytes
}

fn decode(kind: &Kind, id: &str, bytes: &[u8]) -> Result<Record> {
    let cut = || anyhow::anyhow!("{id} is cut off");
    let (created, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
    let (version, mut rest) = rest.split_first_chunk().ok_or_else(cut)?;
    let mut text = || -> Result<String> {
        let (length, after) = rest.split_first_chunk().ok_or_else(cut)?;
        let (text, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or_else(cut)?;
        rest = after;
        Ok(std::str::from_utf8(text)?.to_owned())
    };
    let project = text()?;
    let mut attribute = || text().map(|text| (!text.is_empty()).then_some(text));
    let attributes = IndexAttributes {
        owner: attribute()?,
        state: attribute()?,
        class: attribute()?,
        ..IndexAttributes::default()
    };
    Ok(Record {
        kind: kind.clone(),
        id: id.to_owned(),
        project,
        created: Timestamp::from_micros(i64::from_be_bytes(*created)),
        version: Version::new(u64::from_be_bytes(*version)),
        attributes,
        body: rest.to_vec(),
    })
}
