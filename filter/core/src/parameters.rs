//! What a contract says of the values in path, query, headers and cookies.
//!
//! `names` finds what a name belongs to, `written` reads texts as values, `pairs` is for what comes as names with values:
//! the query and the cookies. INVARIANT: what has two readings is refused whatever is in shadow, and whoever reads an
//! accepted request finds each declared value once, and the same one.

pub(crate) mod names;
mod pairs;
pub(crate) mod written;

use crate::contract::{Operation, Parameter, Part};
use crate::path::Target;
use crate::reason::Reason;
use crate::routes::Segment;
use crate::rules::Watched;
use crate::schema::CompiledSchemas;
use crate::violation::Violation;
use written::{Encoding, Unread, Written};

/// Judges all parameters of a request.
pub fn judge<'p>(
    schemas: &CompiledSchemas,
    operation: &Operation,
    target: &Target<'_>,
    pairs: impl Iterator<Item = (&'p [u8], &'p [u8])> + Clone,
    watched: &mut Watched<'_>,
) -> Result<(), Violation> {
    if operation.parameters.is_empty() && target.query().is_none() {
        return Ok(());
    }
    let mut judging = Judging { schemas, watched };
    judging.path(operation, target)?;
    pairs::query(&mut judging, of(operation, Part::Query), target)?;
    judging.headers(of(operation, Part::Header), pairs.clone())?;
    pairs::cookies(&mut judging, of(operation, Part::Cookie), pairs)
}

/// Judges one value of a response's header.
pub(crate) fn judge_response_header(
    schemas: &CompiledSchemas,
    header: &Parameter,
    value: &[u8],
) -> Result<(), Violation> {
    let text = core::str::from_utf8(value).map_err(|_| malformed(header))?;
    let written = written::read(text, &header.writing, Encoding::ResponseHeader);
    let written = written.map_err(|unread| match unread {
        Unread::Ambiguous => malformed(header),
        Unread::Document(broken) => Violation::within(header.part, &header.name, &broken),
    })?;
    let judged = written.judge(schemas, header.schema, text.len());
    judged.map_err(|broken| Violation::within(header.part, &header.name, &broken))
}

/// The parameters of one part, in the order of their names.
fn of(operation: &Operation, part: Part) -> &[Parameter] {
    let all = &operation.parameters;
    let begin = all.partition_point(|parameter| parameter.part < part);
    let end = all.partition_point(|parameter| parameter.part <= part);
    all.get(begin..end).unwrap_or_default()
}

/// What judging needs at every value.
struct Judging<'j, 'a> {
    schemas: &'j CompiledSchemas,
    watched: &'j mut Watched<'a>,
}

impl Judging<'_, '_> {
    fn path(&mut self, operation: &Operation, target: &Target<'_>) -> Result<(), Violation> {
        let declared = of(operation, Part::Path);
        if declared.is_empty() {
            return Ok(());
        }
        for (segment, raw) in operation.template.iter().zip(target.segments()) {
            let Segment::Parameter(name) = segment else { continue };
            if let Ok(at) = declared.binary_search_by(|parameter| parameter.name.cmp(name))
                && let Some(parameter) = declared.get(at)
            {
                self.text(parameter, raw, Encoding::Path)?;
            }
        }
        Ok(())
    }

    fn headers<'p>(
        &mut self,
        declared: &[Parameter],
        pairs: impl Iterator<Item = (&'p [u8], &'p [u8])> + Clone,
    ) -> Result<(), Violation> {
        for parameter in declared {
            let name = parameter.name.as_bytes();
            let mut values = pairs.clone().filter(|(known, _)| *known == name).map(|(_, value)| value);
            match (values.next(), values.next()) {
                (None, _) => self.absent(parameter)?,
                (Some(value), None) => {
                    let text = core::str::from_utf8(value).map_err(|_| malformed(parameter))?;
                    self.text(parameter, text, Encoding::Header)?;
                }
                (Some(_), Some(_)) => return Err(malformed(parameter)),
            }
        }
        Ok(())
    }

    /// A value that stands in one text.
    fn text(&mut self, parameter: &Parameter, raw: &str, encoding: Encoding) -> Result<(), Violation> {
        let written = written::read(raw, &parameter.writing, encoding);
        self.value(parameter, written, raw.len())
    }

    /// `length` is what it has in bytes.
    fn value(
        &mut self,
        parameter: &Parameter,
        written: Result<Written<'_>, Unread>,
        length: usize,
    ) -> Result<(), Violation> {
        let written = written.map_err(|unread| match unread {
            Unread::Ambiguous => malformed(parameter),
            Unread::Document(broken) => Violation::within(parameter.part, &parameter.name, &broken),
        })?;
        match written.judge(self.schemas, parameter.schema, length) {
            Ok(()) => Ok(()),
            Err(broken) => self.watched.found(Violation::within(parameter.part, &parameter.name, &broken)),
        }
    }

    fn absent(&mut self, parameter: &Parameter) -> Result<(), Violation> {
        if parameter.required {
            self.watched.found(Violation::at(parameter.part, &parameter.name, Reason::ParameterMissing))?;
        }
        Ok(())
    }
}

/// It has two readings: no rule of a contract, and never in shadow.
fn malformed(parameter: &Parameter) -> Violation {
    Violation { rule: None, ..Violation::at(parameter.part, &parameter.name, Reason::ParameterMalformed) }
}

#[cfg(test)]
mod tests;
