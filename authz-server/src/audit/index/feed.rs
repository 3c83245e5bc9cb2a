//! From the ledger into the index, entry by entry.
//!
//! INVARIANT: a batch goes in whole or not at all, and `state` says in the same transaction how far it went.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::IndexError;
use super::schema::BLOCK;
use crate::audit::call::{Shape, Verdict};
use crate::audit::event;
use crate::audit::source::{Anchor, Leaf, Source};
use crate::ledger::{Decision, Entry, Outcome, ReadError, Recorded, Refusal};

/// Shapes that are remembered between entries. Over it the memory begins anew.
const SHAPES_MAX: usize = 16 * 1024;

/// How far a batch went.
#[derive(Debug)]
pub(in crate::audit) struct Progress {
    /// So many entries of the ledger are in the index.
    pub(in crate::audit) done: u64,
    /// Whether there was nothing more.
    pub(in crate::audit) at_end: bool,
    /// What kept the ledger from being read further.
    pub(in crate::audit) stopped: Option<ReadError>,
}

/// What is remembered from batch to batch. It is of no use once somebody else has written.
#[derive(Debug, Default)]
pub(super) struct Feed {
    source: Option<Source>,
    done: u64,
    last_leaf: Option<Leaf>,
    shapes: HashMap<Shape, i64>,
    block: Option<Block>,
}

/// The run of entries that the next one belongs to.
#[derive(Clone, Copy, Debug)]
struct Block {
    anchor: Anchor,
    at_ms: Option<(i64, i64)>,
}

impl Feed {
    pub(super) fn advance(
        &mut self,
        connection: &mut Connection,
        ledger: &Path,
        until: Option<u64>,
        entries_max: usize,
        boot: &str,
    ) -> Result<Progress, IndexError> {
        // What a batch that failed has left here is not in the index.
        let mut feed = std::mem::take(self);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        feed.catch_up_with(&transaction, ledger)?;
        let mut batch = Batch { transaction: &transaction, calls_by_shape: HashMap::new() };
        let before = feed.done;
        let mut progress = Progress { done: before, at_end: false, stopped: None };
        for _ in 0..entries_max {
            if until.is_some_and(|until| feed.done >= until) {
                progress.at_end = true;
                break;
            }
            match feed.source.as_mut().map(Source::step) {
                Some(Ok(Some(recorded))) => feed.add(&mut batch, &recorded)?,
                Some(Ok(None)) | None => {
                    progress.at_end = true;
                    break;
                }
                Some(Err(error)) => {
                    progress.stopped = Some(error);
                    feed.source = None;
                    break;
                }
            }
        }
        progress.done = feed.done;
        if feed.done > before {
            batch.finish(&feed, boot)?;
            transaction.commit()?;
        }
        *self = feed;
        Ok(progress)
    }

    /// Begins where the index ends, which another process may have brought further.
    fn catch_up_with(&mut self, transaction: &Transaction<'_>, ledger: &Path) -> Result<(), IndexError> {
        let (done, last_leaf): (i64, Option<Vec<u8>>) =
            transaction
                .query_row("SELECT done, last_leaf FROM state", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let done = unsigned(done)?;
        if self.source.is_some() && self.done == done {
            return Ok(());
        }
        *self = Feed::default();
        let oldest: Option<i64> =
            transaction.query_row("SELECT min(first) FROM block", [], |row| row.get(0))?;
        if let Some(oldest) = oldest
            && Source::oldest(ledger)?.is_some_and(|left| signed(left) > oldest)
        {
            return Err(IndexError::Damaged("the oldest entries of the ledger were deleted".to_owned()));
        }
        self.block = last_block(transaction)?;
        let mut source = match Source::open(ledger, self.block.map(|block| block.anchor)) {
            Ok(source) => source,
            Err(error) if done == 0 => return Err(error.into()),
            Err(error) => return Err(IndexError::Damaged(format!("the ledger is not what it was: {error}"))),
        };
        let mut last = None;
        while source.next_position() < done {
            match source.step() {
                Ok(Some(recorded)) => last = Some(recorded.leaf_hash),
                Ok(None) => return Err(IndexError::Damaged("the ledger is shorter than it was".to_owned())),
                Err(error) => {
                    return Err(IndexError::Damaged(format!("the ledger is not what it was: {error}")));
                }
            }
        }
        if last.as_ref().map(|leaf| leaf.as_bytes().as_slice()) != last_leaf.as_deref() {
            return Err(IndexError::Damaged("it was made from another ledger".to_owned()));
        }
        (self.source, self.done, self.last_leaf) = (Some(source), done, last);
        Ok(())
    }

    fn add(&mut self, batch: &mut Batch<'_>, recorded: &Recorded) -> Result<(), IndexError> {
        let position = signed(recorded.index);
        if self.block.is_none() || recorded.index.is_multiple_of(BLOCK) {
            self.close_block(batch)?;
            self.block = Some(Block { anchor: Anchor::of(recorded), at_ms: None });
        }
        match &recorded.entry {
            Entry::Decision(decision) => self.add_decision(batch, position, decision)?,
            Entry::Outcome(outcome) => self.add_outcome(batch, position, outcome)?,
            Entry::Refusal(refusal) => self.add_refusal(batch, position, refusal)?,
            Entry::Admin(admin) => batch.add_event(position, admin.at_ms, event::name(&admin.event))?,
            Entry::Drift(drift) => {
                batch.add_event(position, drift.last_at_ms, event::DRIFT)?;
                batch.add_example(&id_key(&drift.call_id), position)?;
            }
            Entry::Judged(judged) => batch.add_event(position, judged.at_ms, event::JUDGED)?,
            Entry::Shed(sheds) => {
                batch.add_event(position, sheds.last_at_ms, event::SHED)?;
                batch.add_example(&id_key(&sheds.call_id), position)?;
            }
            // What was let through is counted in metrics, and nobody looks for one count of it.
            Entry::Load(_) => {}
        }
        self.done = recorded.index.saturating_add(1);
        self.last_leaf = Some(recorded.leaf_hash);
        Ok(())
    }

    fn add_decision(
        &mut self,
        batch: &mut Batch<'_>,
        position: i64,
        decision: &Decision,
    ) -> Result<(), IndexError> {
        let id = id_key(&decision.decision_id);
        // Nearly always it is new; only then there is nothing to look up.
        let is_new = batch.name_call(&id, position)?;
        let known = if is_new { None } else { batch.call_of(&id)? };
        self.add_call(batch, position, decision.at_ms, Shape::of_decision(decision))?;
        match known {
            None => Ok(()),
            // Ids are unique; were one not, it names what was answered first.
            Some((_, Stands::Decision)) => Ok(()),
            Some((stand_in, Stands::Refusal)) => {
                batch.move_call(&id, stand_in, position)?;
                batch.add_further(position, stand_in)
            }
            // The outcome came first and has stood for the call until now.
            Some((stand_in, Stands::Outcome)) => batch.move_call(&id, stand_in, position),
        }
    }

    fn add_refusal(
        &mut self,
        batch: &mut Batch<'_>,
        position: i64,
        refusal: &Refusal,
    ) -> Result<(), IndexError> {
        let id = id_key(&refusal.call_id);
        let known = batch.call_of(&id)?;
        // A report that was repeated, or one on a call that the server decided on.
        if let Some((call, Stands::Decision | Stands::Refusal)) = known {
            return batch.add_further(call, position);
        }
        self.add_call(batch, position, refusal.at_ms, Shape::of_refusal(refusal))?;
        if let Some(place) = &refusal.place {
            batch.add_place(position, place)?;
        }
        match known {
            None => batch.name_call(&id, position).map(drop),
            Some((stand_in, _)) => batch.move_call(&id, stand_in, position),
        }
    }

    fn add_outcome(
        &mut self,
        batch: &mut Batch<'_>,
        position: i64,
        outcome: &Outcome,
    ) -> Result<(), IndexError> {
        let id = outcome.call_id.as_deref().map(id_key);
        if let Some(id) = &id
            && let Some((call, _)) = batch.call_of(id)?
        {
            return batch.end_call(call, position, outcome);
        }
        self.add_call(batch, position, outcome.at_ms, Shape::of_outcome(outcome))?;
        if let Some(id) = &id {
            batch.name_call(id, position)?;
        }
        batch.end_call(position, position, outcome)
    }

    fn add_call(
        &mut self,
        batch: &mut Batch<'_>,
        position: i64,
        at_ms: u64,
        shape: Shape,
    ) -> Result<(), IndexError> {
        let at_ms = signed(at_ms);
        let shape = self.shape_id(batch, shape)?;
        batch.count(shape, 1);
        let mut insert = batch
            .transaction
            .prepare_cached("INSERT INTO call (position, at_ms, shape) VALUES (?1, ?2, ?3)")?;
        insert.execute(params![position, at_ms, shape])?;
        if let Some(block) = &mut self.block {
            let (first, last) = block.at_ms.unwrap_or((at_ms, at_ms));
            block.at_ms = Some((first.min(at_ms), last.max(at_ms)));
        }
        Ok(())
    }

    fn shape_id(&mut self, batch: &Batch<'_>, shape: Shape) -> Result<i64, IndexError> {
        if let Some(id) = self.shapes.get(&shape) {
            return Ok(*id);
        }
        if self.shapes.len() >= SHAPES_MAX {
            self.shapes.clear();
        }
        let policies = policies_text(&shape.policies);
        let Shape { who, service, operation, verdict, reason, shadow, candidate, otherwise, .. } = &shape;
        let (shadow, otherwise) = (shadow.map_or(0, Verdict::code), otherwise.map_or(0, Verdict::code));
        let verdict = verdict.code();
        let columns =
            params![who, service, operation, verdict, reason, policies, shadow, candidate, otherwise];
        let mut insert = batch.transaction.prepare_cached(
            "INSERT INTO shape (who, service, operation, verdict, reason, policies, shadow, candidate, otherwise) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING",
        )?;
        insert.execute(columns)?;
        let mut select = batch.transaction.prepare_cached(
            "SELECT id FROM shape WHERE who = ?1 AND service = ?2 AND operation = ?3 AND verdict = ?4 AND reason = ?5 \
             AND policies = ?6 AND shadow = ?7 AND candidate = ?8 AND otherwise = ?9",
        )?;
        let id = select.query_row(columns, |row| row.get(0))?;
        self.shapes.insert(shape, id);
        Ok(id)
    }

    fn close_block(&self, batch: &Batch<'_>) -> Result<(), IndexError> {
        let Some(Block { anchor, at_ms }) = self.block else { return Ok(()) };
        let mut insert = batch.transaction.prepare_cached(
            "INSERT OR REPLACE INTO block (first, byte_offset, at_ms_min, at_ms_max) VALUES (?1, ?2, ?3, ?4)",
        )?;
        let (first, last) = at_ms.unzip();
        insert.execute(params![signed(anchor.position), signed(anchor.offset), first, last])?;
        Ok(())
    }
}

/// Which kind of entry stands for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Decision,
    Refusal,
    Outcome,
}

/// One transaction, and what it has to write at its end.
struct Batch<'t> {
    transaction: &'t Transaction<'t>,
    calls_by_shape: HashMap<i64, i64>,
}

impl Batch<'_> {
    fn count(&mut self, shape: i64, calls: i64) {
        *self.calls_by_shape.entry(shape).or_default() += calls;
    }

    /// The call that an id names, and which kind of entry stands for it.
    fn call_of(&self, id: &[u8]) -> Result<Option<(i64, Stands)>, IndexError> {
        let mut select = self.transaction.prepare_cached(
            "SELECT call.position, shape.verdict, outcome.position FROM call_id \
             JOIN call ON call.position = call_id.call JOIN shape ON shape.id = call.shape \
             LEFT JOIN outcome ON outcome.call = call.position WHERE call_id.id = ?1",
        )?;
        let row = select.query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
        let Some((call, verdict, outcome)): Option<(i64, i64, Option<i64>)> = row else { return Ok(None) };
        let stands = match super::query::verdict(verdict)? {
            Verdict::Allow | Verdict::Deny => Stands::Decision,
            Verdict::Reject | Verdict::Shed | Verdict::None if outcome == Some(call) => Stands::Outcome,
            Verdict::Reject | Verdict::Shed | Verdict::None => Stands::Refusal,
        };
        Ok(Some((call, stands)))
    }

    /// Gives a call its id; false where the id names a call already.
    fn name_call(&self, id: &[u8], call: i64) -> Result<bool, IndexError> {
        let mut insert = self
            .transaction
            .prepare_cached("INSERT INTO call_id (id, call) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
        Ok(insert.execute(params![id, call])? > 0)
    }

    fn end_call(&self, call: i64, position: i64, outcome: &Outcome) -> Result<(), IndexError> {
        let mut insert = self.transaction.prepare_cached(
            "INSERT INTO outcome (call, position, status, duration_us) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
        )?;
        let is_first =
            insert.execute(params![call, position, outcome.status, signed(outcome.duration_us)])? > 0;
        if is_first { Ok(()) } else { self.add_further(call, position) }
    }

    fn add_further(&self, call: i64, position: i64) -> Result<(), IndexError> {
        let mut insert =
            self.transaction.prepare_cached("INSERT INTO further (call, position) VALUES (?1, ?2)")?;
        insert.execute([call, position])?;
        Ok(())
    }

    fn add_event(&self, position: i64, at_ms: u64, kind: &str) -> Result<(), IndexError> {
        let mut insert = self
            .transaction
            .prepare_cached("INSERT INTO event (position, at_ms, kind) VALUES (?1, ?2, ?3)")?;
        insert.execute(params![position, signed(at_ms), kind])?;
        Ok(())
    }

    fn add_place(&self, call: i64, place: &str) -> Result<(), IndexError> {
        let mut insert =
            self.transaction.prepare_cached("INSERT INTO place (call, place) VALUES (?1, ?2)")?;
        insert.execute(params![call, place])?;
        Ok(())
    }

    fn add_example(&self, id: &[u8], position: i64) -> Result<(), IndexError> {
        let mut insert =
            self.transaction.prepare_cached("INSERT INTO example (id, position) VALUES (?1, ?2)")?;
        insert.execute(params![id, position])?;
        Ok(())
    }

    /// Lets an entry that says more take the place of the one that stood for its call.
    fn move_call(&mut self, id: &[u8], from: i64, to: i64) -> Result<(), IndexError> {
        let shape: i64 = self.transaction.query_row(
            "DELETE FROM call WHERE position = ?1 RETURNING shape",
            [from],
            |row| row.get(0),
        )?;
        self.count(shape, -1);
        for update in
            ["UPDATE outcome SET call = ?2 WHERE call = ?1", "UPDATE further SET call = ?2 WHERE call = ?1"]
        {
            self.transaction.prepare_cached(update)?.execute([from, to])?;
        }
        self.transaction
            .prepare_cached("UPDATE call_id SET call = ?2 WHERE id = ?1")?
            .execute(params![id, to])?;
        Ok(())
    }

    fn finish(&mut self, feed: &Feed, boot: &str) -> Result<(), IndexError> {
        feed.close_block(self)?;
        let mut update =
            self.transaction.prepare_cached("UPDATE shape SET calls = calls + ?2 WHERE id = ?1")?;
        for (shape, calls) in self.calls_by_shape.drain() {
            update.execute([shape, calls])?;
        }
        let leaf = feed.last_leaf.as_ref().map(|leaf| leaf.as_bytes().as_slice());
        self.transaction
            .prepare_cached("UPDATE state SET done = ?1, last_leaf = ?2, boot = ?3")?
            .execute(params![signed(feed.done), leaf, boot])?;
        Ok(())
    }
}

fn last_block(transaction: &Transaction<'_>) -> Result<Option<Block>, IndexError> {
    let row = transaction.query_row(
        "SELECT first, byte_offset, at_ms_min, at_ms_max FROM block ORDER BY first DESC LIMIT 1",
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<i64>>(2)?, row.get::<_, Option<i64>>(3)?)),
    );
    let Some((first, offset, at_ms_min, at_ms_max)) = row.optional()? else { return Ok(None) };
    let anchor = Anchor { position: unsigned(first)?, offset: unsigned(offset)? };
    Ok(Some(Block { anchor, at_ms: at_ms_min.zip(at_ms_max) }))
}

/// The policies of a shape as they are stored, and compared.
fn policies_text(policies: &[String]) -> String {
    serde_json::Value::from(policies).to_string()
}

/// What an id is in the index: 16 bytes for a UUID, and longer for what is none.
pub(super) fn id_key(id: &str) -> Vec<u8> {
    let dashes = [8, 13, 18, 23];
    let is_uuid = id.len() == 36
        && id.bytes().enumerate().all(|(index, byte)| {
            if dashes.contains(&index) { byte == b'-' } else { matches!(byte, b'0'..=b'9' | b'a'..=b'f') }
        });
    match hex::decode(id.replace('-', "")) {
        Ok(bytes) if is_uuid => bytes,
        _ => [&[0; 17], id.as_bytes()].concat(),
    }
}

/// Positions, times and durations as SQLite has them. What is beyond its numbers is shown as their end.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> Result<u64, IndexError> {
    u64::try_from(number).map_err(|_| IndexError::Damaged(format!("{number} is below zero")))
}
