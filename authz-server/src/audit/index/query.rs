//! Questions to the index, and their answers: positions, and what the index believes of what stands there.
//!
//! INVARIANT: nothing is taken from a row but numbers; whatever is not a number that can be is damage.

use std::collections::BTreeMap;
use std::ops::Range;

use rusqlite::{OptionalExtension as _, params};

use super::feed::{id_key, signed, unsigned};
#[cfg(test)]
use super::plan::Plan;
use super::plan::{Asked, By, Order, Wanted, id_range};
use super::schema::BLOCK;
use super::{Index, IndexError};
use crate::audit::call::{Call, Shape, Verdict};
use crate::audit::filter::{Filter, IdPart};
use crate::audit::source::Anchor;

/// Where a call stands in the ledger, and what the index believes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::audit) struct Hit {
    pub(in crate::audit) call: u64,
    pub(in crate::audit) outcome: Option<u64>,
    at_ms: i64,
    shape: i64,
    ended: Option<(i64, i64)>,
}

impl Hit {
    /// Of position, outcome, time, shape, status and duration.
    fn of(row: &rusqlite::Row<'_>) -> Result<Hit, IndexError> {
        let status: Option<i64> = row.get(4)?;
        Ok(Hit {
            call: unsigned(row.get(0)?)?,
            outcome: row.get::<_, Option<i64>>(1)?.map(unsigned).transpose()?,
            at_ms: row.get(2)?,
            shape: row.get(3)?,
            ended: status.zip(row.get::<_, Option<i64>>(5)?),
        })
    }

    /// Whether the index believes of the call what the ledger says of it.
    pub(in crate::audit) fn tells_of(&self, call: &Call, asked: &Asked<'_>) -> bool {
        let ended = call.outcome().map(|outcome| &outcome.entry);
        self.call == call.position()
            && self.at_ms == signed(call.at_ms())
            && asked.known.get(&self.shape) == Some(&call.shape())
            && self.ended == ended.map(|ended| (i64::from(ended.status), signed(ended.duration_us)))
    }
}

/// A shape, and how many calls have it.
#[derive(Clone, Debug)]
pub(in crate::audit) struct KnownShape {
    pub(in crate::audit) id: i64,
    pub(super) calls: u64,
    pub(in crate::audit) shape: Shape,
}

impl Index {
    /// Looks up what a filter asks for.
    pub(in crate::audit) fn ask<'f>(&self, filter: &'f Filter) -> Result<Asked<'f>, IndexError> {
        Ok(Asked::new(filter, self.shapes()?, self.range_of(filter)?))
    }

    /// The next calls that match, beginning at one end of `range`.
    pub(in crate::audit) fn find(
        &self,
        asked: &Asked<'_>,
        range: Range<u64>,
        order: Order,
        limit: u64,
    ) -> Result<Vec<Hit>, IndexError> {
        let range = range.start.max(asked.range.start)..range.end.min(asked.range.end);
        if range.is_empty() || asked.is_hopeless() {
            return Ok(Vec::new());
        }
        self.choose(asked)?;
        let sql = asked.sql(asked.plan(limit), Wanted::Hits(order));
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(&*asked.parameters(&range, Some(limit)).bound())?;
        let mut hits = Vec::new();
        while let Some(row) = rows.next()? {
            hits.push(Hit::of(row)?);
        }
        Ok(hits)
    }

    /// How many calls match, by shape, status or piece of time; `None` stands for calls whose end is not known.
    pub(in crate::audit) fn count(
        &self,
        asked: &Asked<'_>,
        by: By,
    ) -> Result<BTreeMap<Option<i64>, u64>, IndexError> {
        if asked.range.is_empty() || asked.is_hopeless() {
            return Ok(BTreeMap::new());
        }
        self.choose(asked)?;
        let sql = asked.sql(asked.plan_of_count(by), Wanted::Counts(by));
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(&*asked.parameters(&asked.range, None).bound())?;
        let mut counts = BTreeMap::new();
        while let Some(row) = rows.next()? {
            counts.insert(row.get(0)?, unsigned(row.get(1)?)?);
        }
        Ok(counts)
    }

    /// Every shape that calls have.
    pub(in crate::audit) fn shapes(&self) -> Result<Vec<KnownShape>, IndexError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, calls, who, service, operation, verdict, reason, policies, shadow, candidate, otherwise \
             FROM shape \
             WHERE calls > 0",
        )?;
        let mut rows = statement.query([])?;
        let mut shapes = Vec::new();
        while let Some(row) = rows.next()? {
            let policies: String = row.get(7)?;
            let (shadow, otherwise): (i64, i64) = (row.get(8)?, row.get(10)?);
            let shape = Shape {
                who: row.get(2)?,
                service: row.get(3)?,
                operation: row.get(4)?,
                verdict: verdict(row.get(5)?)?,
                reason: row.get(6)?,
                policies: serde_json::from_str(&policies)
                    .map_err(|error| IndexError::Damaged(format!("policies of a shape: {error}")))?,
                shadow: (shadow != 0).then(|| verdict(shadow)).transpose()?,
                candidate: row.get(9)?,
                otherwise: (otherwise != 0).then(|| verdict(otherwise)).transpose()?,
            };
            shapes.push(KnownShape { id: row.get(0)?, calls: unsigned(row.get(1)?)?, shape });
        }
        Ok(shapes)
    }

    /// The calls whose id begins so, in no order, at most so many; with all of their outcomes.
    pub(in crate::audit) fn by_id(&self, id: &IdPart, limit: u64) -> Result<Vec<Hit>, IndexError> {
        let (first, last) = id_range(id);
        let mut statement = self.connection.prepare_cached(
            "SELECT c.position, o.position, c.at_ms, c.shape, o.status, o.duration_us FROM call_id \
             CROSS JOIN call AS c ON c.position = call_id.call LEFT JOIN outcome AS o ON o.call = c.position \
             WHERE call_id.id BETWEEN ?1 AND ?2 ORDER BY call_id.id LIMIT ?3",
        )?;
        let mut rows = statement.query(params![first, last, signed(limit)])?;
        let mut hits = Vec::new();
        while let Some(row) = rows.next()? {
            hits.push(Hit::of(row)?);
        }
        Ok(hits)
    }

    /// The other entries of a call, behind the one that stands for it and its outcome.
    pub(in crate::audit) fn further(&self, call: u64) -> Result<Vec<u64>, IndexError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT position FROM further WHERE call = ?1 ORDER BY position")?;
        let positions = statement.query_map([signed(call)], |row| row.get::<_, i64>(0))?;
        positions.map(|position| unsigned(position?)).collect()
    }

    /// The drift that a call is an example of.
    pub(in crate::audit) fn examples(&self, id: &str) -> Result<Vec<u64>, IndexError> {
        let mut statement =
            self.connection.prepare_cached("SELECT position FROM example WHERE id = ?1 ORDER BY position")?;
        let positions = statement.query_map([id_key(id)], |row| row.get::<_, i64>(0))?;
        positions.map(|position| unsigned(position?)).collect()
    }

    /// The kinds of events that there were.
    pub(in crate::audit) fn event_kinds(&self) -> Result<Vec<String>, IndexError> {
        let mut statement =
            self.connection.prepare_cached("SELECT DISTINCT kind FROM event ORDER BY kind")?;
        let kinds = statement.query_map([], |row| row.get(0))?;
        kinds.map(|kind| Ok(kind?)).collect()
    }

    /// The newest events of a kind within a time, at most so many, the newest first.
    pub(in crate::audit) fn events(
        &self,
        kind: &str,
        at_ms: Range<u64>,
        limit: u64,
    ) -> Result<Vec<u64>, IndexError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT position FROM event WHERE kind = ?1 AND at_ms >= ?2 AND at_ms < ?3 ORDER BY position DESC LIMIT ?4",
        )?;
        let parameters = params![kind, signed(at_ms.start), signed(at_ms.end), signed(limit)];
        let positions = statement.query_map(parameters, |row| row.get::<_, i64>(0))?;
        positions.map(|position| unsigned(position?)).collect()
    }

    /// The first calls in a range that have no outcome, at most so many.
    pub(in crate::audit) fn without_outcome(
        &self,
        range: Range<u64>,
        limit: u64,
    ) -> Result<Vec<u64>, IndexError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT c.position FROM call AS c LEFT JOIN outcome AS o ON o.call = c.position \
             WHERE o.call IS NULL AND c.position >= ?1 AND c.position < ?2 ORDER BY c.position LIMIT ?3",
        )?;
        let parameters = [signed(range.start), signed(range.end), signed(limit)];
        let positions = statement.query_map(parameters, |row| row.get::<_, i64>(0))?;
        positions.map(|position| unsigned(position?)).collect()
    }

    /// The first entry that is in.
    pub(in crate::audit) fn oldest(&self) -> Result<u64, IndexError> {
        let oldest: Option<i64> =
            self.connection.query_row("SELECT min(first) FROM block", [], |row| row.get(0))?;
        oldest.map_or(Ok(0), unsigned)
    }

    /// The nearest place at or before a position from which the ledger can be read.
    pub(in crate::audit) fn anchor(&self, position: u64) -> Result<Anchor, IndexError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT first, byte_offset FROM block WHERE first <= ?1 ORDER BY first DESC LIMIT 1",
        )?;
        let row: Option<(i64, i64)> =
            statement.query_row([signed(position)], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let (first, offset) =
            row.ok_or_else(|| IndexError::Damaged(format!("no place is known for entry {position}")))?;
        Ok(Anchor { position: unsigned(first)?, offset: unsigned(offset)? })
    }

    /// How many entries of the ledger are in.
    pub(in crate::audit) fn done(&self) -> Result<u64, IndexError> {
        unsigned(self.connection.query_row("SELECT done FROM state", [], |row| row.get(0))?)
    }

    /// The positions outside of which no call has the time that is asked for.
    fn range_of(&self, filter: &Filter) -> Result<Range<u64>, IndexError> {
        let mut range = 0..self.done()?;
        if let Some(since_ms) = filter.since_ms {
            let sql = "SELECT min(first) FROM block WHERE at_ms_max >= ?1";
            let first: Option<i64> = self.connection.query_row(sql, [signed(since_ms)], |row| row.get(0))?;
            range.start = first.map_or(Ok(range.end), unsigned)?;
        }
        if let Some(until_ms) = filter.until_ms {
            let sql = "SELECT max(first) FROM block WHERE at_ms_min < ?1";
            let last: Option<i64> = self.connection.query_row(sql, [signed(until_ms)], |row| row.get(0))?;
            let end = last.map(unsigned).transpose()?.map_or(0, |first| (first / BLOCK + 1) * BLOCK);
            range.end = range.end.min(end);
        }
        Ok(range)
    }

    /// Lays the shapes out for the statement to look into.
    fn choose(&self, asked: &Asked<'_>) -> Result<(), IndexError> {
        let Some(shapes) = &asked.shapes else { return Ok(()) };
        self.connection.execute("DELETE FROM temp.chosen", [])?;
        let mut insert = self.connection.prepare_cached("INSERT INTO temp.chosen (shape) VALUES (?1)")?;
        for shape in shapes {
            insert.execute([shape])?;
        }
        Ok(())
    }

    /// What SQLite says about how it would answer.
    #[cfg(test)]
    pub(super) fn explain(&self, asked: &Asked<'_>, limit: u64) -> Result<(Plan, String), IndexError> {
        self.choose(asked)?;
        let plan = asked.plan(limit);
        let sql = format!("EXPLAIN QUERY PLAN {}", asked.sql(plan, Wanted::Hits(Order::NewestFirst)));
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query(&*asked.parameters(&asked.range, Some(limit)).bound())?;
        let mut lines = Vec::new();
        while let Some(row) = rows.next()? {
            lines.push(row.get::<_, String>(3)?);
        }
        Ok((plan, lines.join("\n")))
    }
}

pub(super) fn verdict(code: i64) -> Result<Verdict, IndexError> {
    Verdict::of_code(code).ok_or_else(|| IndexError::Damaged(format!("there is no verdict {code}")))
}
