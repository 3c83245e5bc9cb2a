//! Questions to the index. Each is answered by one of few statements, and which one is chosen by what is known of how
//! many calls have the shapes that are asked for.
//!
//! INVARIANT: every plan gives the same calls in the same order; they differ in time alone.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use rusqlite::{OptionalExtension as _, params};

use super::feed::{id_key, signed, unsigned};
use super::schema::BLOCK;
use super::{Index, IndexError};
use crate::audit::call::{Call, Shape, Verdict};
use crate::audit::filter::{Filter, IdPart, Status};
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
    pub(in crate::audit) fn tells_of(&self, call: &Call, shapes: &HashMap<i64, Shape>) -> bool {
        let ended = call.outcome().map(|outcome| &outcome.entry);
        self.call == call.position()
            && self.at_ms == signed(call.at_ms())
            && shapes.get(&self.shape) == Some(&call.shape())
            && self.ended == ended.map(|ended| (i64::from(ended.status), signed(ended.duration_us)))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::audit) enum Order {
    OldestFirst,
    NewestFirst,
}

/// What calls are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::audit) enum By {
    Shape,
    Status,
    /// Pieces of time that are as long as this.
    Time {
        ms: u64,
    },
}

/// To look a call up costs about as much as to walk over this many.
const WALK_SHARE: u64 = 4;

/// A shape, and how many calls have it.
#[derive(Clone, Debug)]
pub(in crate::audit) struct KnownShape {
    pub(in crate::audit) id: i64,
    calls: u64,
    pub(in crate::audit) shape: Shape,
}

/// A filter, as far as it can be looked up before the calls are.
#[derive(Debug)]
pub(in crate::audit) struct Asked<'f> {
    filter: &'f Filter,
    /// What has a chance to match; `None` if the filter does not ask for anything that shapes tell.
    shapes: Option<Vec<KnownShape>>,
    /// Between which positions the calls of the asked time are.
    range: Range<u64>,
    calls: u64,
}

/// How the calls are come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// Call after call, in their order.
    Walk,
    /// The calls of each shape, put into their order afterwards.
    ByShape,
    /// Outcome after outcome, in the order of their calls.
    ByOutcome,
    ById,
    /// The index of shapes from end to end; calls are in the order of shapes.
    AllShapes,
}

/// Which rows a statement gives.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    Hits(Order),
    Counts(By),
}

impl Index {
    /// Looks up what a filter asks for.
    pub(in crate::audit) fn ask<'f>(&self, filter: &'f Filter) -> Result<Asked<'f>, IndexError> {
        let known = self.shapes()?;
        let calls = known.iter().map(|known| known.calls).sum();
        let shapes = filter
            .has_shape()
            .then(|| known.into_iter().filter(|known| filter.matches_shape(&known.shape)).collect());
        Ok(Asked { filter, shapes, range: self.range_of(filter)?, calls })
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
            "SELECT id, calls, who, service, operation, verdict, reason, policies, shadow FROM shape \
             WHERE calls > 0",
        )?;
        let mut rows = statement.query([])?;
        let mut shapes = Vec::new();
        while let Some(row) = rows.next()? {
            let policies: String = row.get(7)?;
            let shadow: i64 = row.get(8)?;
            let shape = Shape {
                who: row.get(2)?,
                service: row.get(3)?,
                operation: row.get(4)?,
                verdict: verdict(row.get(5)?)?,
                reason: row.get(6)?,
                policies: serde_json::from_str(&policies)
                    .map_err(|error| IndexError::Damaged(format!("policies of a shape: {error}")))?,
                shadow: (shadow != 0).then(|| verdict(shadow)).transpose()?,
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

    /// The outcomes of a call behind its first one.
    pub(in crate::audit) fn further_outcomes(&self, call: u64) -> Result<Vec<u64>, IndexError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT position FROM further WHERE call = ?1 ORDER BY position")?;
        let positions = statement.query_map([signed(call)], |row| row.get::<_, i64>(0))?;
        positions.map(|position| unsigned(position?)).collect()
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
        for known in shapes {
            insert.execute([known.id])?;
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

impl Asked<'_> {
    /// Whether nothing can match, whatever calls there are.
    fn is_hopeless(&self) -> bool {
        self.shapes.as_ref().is_some_and(Vec::is_empty)
    }

    #[cfg(test)]
    pub(super) fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    pub(super) fn plan(&self, limit: u64) -> Plan {
        if self.filter.id.is_some() {
            return Plan::ById;
        }
        let Some(shapes) = &self.shapes else { return self.in_order() };
        let matching: u64 = shapes.iter().map(|known| known.calls).sum();
        // A walk sees `calls / matching` calls for each that matches, and ends with the limit; the other way sees all
        // that match.
        let walked = u128::from(limit.min(matching)) * u128::from(self.calls);
        if u128::from(matching) * u128::from(matching) <= walked { Plan::ByShape } else { self.in_order() }
    }

    fn plan_of_count(&self, by: By) -> Plan {
        let Filter { since_ms, until_ms, slow_us, status, id, .. } = self.filter;
        if id.is_some() {
            return Plan::ById;
        }
        // What is not asked for is not looked up: the index of shapes alone tells position and shape.
        let is_covered = by == By::Shape
            && since_ms.is_none()
            && until_ms.is_none()
            && slow_us.is_none()
            && status.is_none();
        let matching = self.shapes.as_ref().map(|shapes| shapes.iter().map(|known| known.calls).sum::<u64>());
        match matching {
            None if is_covered => Plan::AllShapes,
            Some(_) if is_covered => Plan::ByShape,
            Some(matching) if matching <= self.calls / WALK_SHARE => Plan::ByShape,
            None | Some(_) => self.in_order(),
        }
    }

    fn in_order(&self) -> Plan {
        let by_outcome =
            self.filter.slow_us.is_some() || matches!(self.filter.status, Some(Status::Between(..)));
        if by_outcome { Plan::ByOutcome } else { Plan::Walk }
    }

    fn sql(&self, plan: Plan, wanted: Wanted) -> String {
        let joined = "LEFT JOIN outcome AS o ON o.call = c.position";
        let from = match plan {
            Plan::Walk => format!("call AS c NOT INDEXED {joined}"),
            Plan::ByShape => format!("temp.chosen CROSS JOIN call AS c INDEXED BY call_by_shape {joined}"),
            Plan::AllShapes => format!("call AS c INDEXED BY call_by_shape {joined}"),
            Plan::ByOutcome => {
                "outcome AS o NOT INDEXED CROSS JOIN call AS c ON c.position = o.call".to_owned()
            }
            Plan::ById => format!("call_id AS i CROSS JOIN call AS c ON c.position = i.call {joined}"),
        };
        let position = if plan == Plan::ByOutcome { "o.call" } else { "c.position" };
        let Filter { since_ms, until_ms, slow_us, status, .. } = self.filter;
        let shapes = self.shapes.as_ref().map(|_| match plan {
            Plan::ByShape => "c.shape = chosen.shape",
            Plan::Walk | Plan::ByOutcome | Plan::ById | Plan::AllShapes => {
                "c.shape IN (SELECT shape FROM temp.chosen)"
            }
        });
        let conditions = [
            Some(format!("{position} >= :first AND {position} < :end")),
            shapes.map(str::to_owned),
            since_ms.map(|_| "c.at_ms >= :since_ms".to_owned()),
            until_ms.map(|_| "c.at_ms < :until_ms".to_owned()),
            slow_us.map(|_| "o.duration_us >= :slow_us".to_owned()),
            status.map(|status| match status {
                Status::Between(..) => "o.status BETWEEN :status AND :status_last".to_owned(),
                Status::Unknown => "o.call IS NULL".to_owned(),
            }),
            (plan == Plan::ById).then(|| "i.id BETWEEN :id AND :id_last".to_owned()),
        ];
        let conditions = conditions.into_iter().flatten().collect::<Vec<_>>().join(" AND ");
        match wanted {
            Wanted::Hits(order) => {
                let order = if order == Order::NewestFirst { "DESC" } else { "ASC" };
                format!(
                    "SELECT {position}, o.position, c.at_ms, c.shape, o.status, o.duration_us FROM {from} WHERE {conditions} ORDER BY {position} {order} \
                     LIMIT :limit"
                )
            }
            Wanted::Counts(by) => {
                let key = match by {
                    By::Shape => "c.shape".to_owned(),
                    By::Status => "o.status".to_owned(),
                    By::Time { ms } => format!("c.at_ms / {}", ms.max(1)),
                };
                format!("SELECT {key}, count(*) FROM {from} WHERE {conditions} GROUP BY 1")
            }
        }
    }

    /// What the statement of this filter has names for.
    fn parameters(&self, range: &Range<u64>, limit: Option<u64>) -> Parameters {
        let Filter { since_ms, until_ms, slow_us, status, id, .. } = self.filter;
        let mut parameters = Parameters(Vec::new());
        parameters.add(":first", signed(range.start));
        parameters.add(":end", signed(range.end));
        let numbers =
            [(":limit", &limit), (":since_ms", since_ms), (":until_ms", until_ms), (":slow_us", slow_us)];
        for (name, number) in numbers {
            number.iter().for_each(|number| parameters.add(name, signed(*number)));
        }
        if let Some(Status::Between(first, last)) = status {
            parameters.add(":status", *first);
            parameters.add(":status_last", *last);
        }
        if let Some(id) = id {
            let (first, last) = id_range(id);
            parameters.add(":id", first);
            parameters.add(":id_last", last);
        }
        parameters
    }
}

/// Values with their names, as the statement wants them.
struct Parameters(Vec<(&'static str, Box<dyn rusqlite::ToSql>)>);

impl Parameters {
    fn add(&mut self, name: &'static str, value: impl rusqlite::ToSql + 'static) {
        self.0.push((name, Box::new(value)));
    }

    fn bound(&self) -> Vec<(&'static str, &dyn rusqlite::ToSql)> {
        self.0.iter().map(|(name, value)| (*name, value.as_ref())).collect()
    }
}

/// The first and the last id that begin so.
fn id_range(id: &IdPart) -> (Vec<u8>, Vec<u8>) {
    if id.is_whole() {
        let key = id_key(id.text());
        return (key.clone(), key);
    }
    let filled = |with: &str| {
        let digits = id.digits();
        let rest = with.repeat(32_usize.saturating_sub(digits.len()));
        hex::decode(digits + &rest).unwrap_or_default()
    };
    (filled("0"), filled("f"))
}

pub(super) fn verdict(code: i64) -> Result<Verdict, IndexError> {
    Verdict::of_code(code).ok_or_else(|| IndexError::Damaged(format!("there is no verdict {code}")))
}
