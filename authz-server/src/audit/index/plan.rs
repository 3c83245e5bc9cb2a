//! Which statement answers a question, and what it is given. Touches no database.
//!
//! INVARIANT: every plan gives the same calls in the same order; they differ in time alone.

use std::collections::HashMap;
use std::ops::Range;

use super::feed::{id_key, signed};
use super::query::KnownShape;
use crate::audit::call::Shape;
use crate::audit::filter::{Filter, IdPart, Status};

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

/// A filter, as far as it can be looked up before the calls are.
#[derive(Debug)]
pub(in crate::audit) struct Asked<'f> {
    filter: &'f Filter,
    /// All that there are.
    pub(super) known: HashMap<i64, Shape>,
    /// Those that have a chance to match; `None` if the filter does not ask for anything that shapes tell.
    pub(super) shapes: Option<Vec<i64>>,
    /// How many calls have such a shape.
    matching: u64,
    calls: u64,
    /// Between which positions the calls of the asked time are.
    pub(super) range: Range<u64>,
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
pub(super) enum Wanted {
    Hits(Order),
    Counts(By),
}

impl<'f> Asked<'f> {
    pub(super) fn new(filter: &'f Filter, known: Vec<KnownShape>, range: Range<u64>) -> Asked<'f> {
        let mut asked = Asked { filter, known: HashMap::new(), shapes: None, matching: 0, calls: 0, range };
        let mut shapes = Vec::new();
        for KnownShape { id, calls, shape } in known {
            asked.calls = asked.calls.saturating_add(calls);
            if filter.matches_shape(&shape) {
                asked.matching = asked.matching.saturating_add(calls);
                shapes.push(id);
            }
            asked.known.insert(id, shape);
        }
        asked.shapes = filter.has_shape().then_some(shapes);
        asked
    }

    /// Whom the filter asks for, once more to be asked of the entries.
    pub(in crate::audit) fn filter(&self) -> &Filter {
        self.filter
    }

    /// Whether nothing can match, whatever calls there are.
    pub(super) fn is_hopeless(&self) -> bool {
        self.shapes.as_ref().is_some_and(Vec::is_empty)
    }

    pub(super) fn plan(&self, limit: u64) -> Plan {
        if self.filter.id.is_some() {
            return Plan::ById;
        }
        if self.shapes.is_none() {
            return self.in_order();
        }
        // A walk sees `calls / matching` calls for each that matches, and ends with the limit; the other way sees all
        // that match.
        let walked = u128::from(limit.min(self.matching)) * u128::from(self.calls);
        if u128::from(self.matching) * u128::from(self.matching) <= walked {
            Plan::ByShape
        } else {
            self.in_order()
        }
    }

    pub(super) fn plan_of_count(&self, by: By) -> Plan {
        let Filter { since_ms, until_ms, slow_us, status, id, place, .. } = self.filter;
        if id.is_some() {
            return Plan::ById;
        }
        // What is not asked for is not looked up: the index of shapes alone tells position and shape.
        let is_covered = by == By::Shape
            && since_ms.is_none()
            && until_ms.is_none()
            && slow_us.is_none()
            && place.is_none()
            && status.is_none();
        match self.shapes {
            None if is_covered => Plan::AllShapes,
            Some(_) if is_covered || self.matching <= self.calls / WALK_SHARE => Plan::ByShape,
            None | Some(_) => self.in_order(),
        }
    }

    fn in_order(&self) -> Plan {
        let by_outcome =
            self.filter.slow_us.is_some() || matches!(self.filter.status, Some(Status::Between(..)));
        if by_outcome { Plan::ByOutcome } else { Plan::Walk }
    }

    pub(super) fn sql(&self, plan: Plan, wanted: Wanted) -> String {
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
        let Filter { since_ms, until_ms, slow_us, status, place, .. } = self.filter;
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
            // Few calls have a place.
            place.as_ref().map(|_| {
                format!(
                    "{position} IN (SELECT call FROM place WHERE substr(place, 1, length(:place)) = :place)"
                )
            }),
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
    pub(super) fn parameters(&self, range: &Range<u64>, limit: Option<u64>) -> Parameters {
        let Filter { since_ms, until_ms, slow_us, status, id, place, .. } = self.filter;
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
        if let Some(place) = place {
            parameters.add(":place", place.clone());
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
pub(super) struct Parameters(Vec<(&'static str, Box<dyn rusqlite::ToSql>)>);

impl Parameters {
    fn add(&mut self, name: &'static str, value: impl rusqlite::ToSql + 'static) {
        self.0.push((name, Box::new(value)));
    }

    pub(super) fn bound(&self) -> Vec<(&'static str, &dyn rusqlite::ToSql)> {
        self.0.iter().map(|(name, value)| (*name, value.as_ref())).collect()
    }
}

/// The first and the last id that begin so.
pub(super) fn id_range(id: &IdPart) -> (Vec<u8>, Vec<u8>) {
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
