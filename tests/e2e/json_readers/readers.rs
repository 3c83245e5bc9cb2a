//! The other readers: one process each, which takes a batch, and then answers for each document of it.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use super::canonical::Hash;

/// One document, and whether our reader lets its numbers through where they must fit a double.
pub(super) struct Question {
    pub document: Vec<u8>,
    pub fits_double: bool,
}

pub(super) struct Reader {
    name: &'static str,
    process: Child,
}

const ANSWER_BYTES: usize = 17;

impl Reader {
    pub(super) fn python() -> Reader {
        Reader::start("Python", Command::new("python3").args(["-c", include_str!("read.py")]))
    }

    pub(super) fn node() -> Reader {
        Reader::start("Node", Command::new("node").args(["-e", include_str!("read.js")]))
    }

    fn start(name: &'static str, command: &mut Command) -> Reader {
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Reader { name, process: process.unwrap_or_else(|error| panic!("start {name}: {error}")) }
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// For each document its hash, or what is wrong with it. The process reads a whole batch before it answers, so that
    /// neither side waits for the other with a full pipe.
    pub(super) fn read<'q>(
        &mut self,
        questions: impl Iterator<Item = &'q Question>,
    ) -> Vec<Result<Hash, &'static str>> {
        let mut batch = Vec::new();
        let mut count = 0;
        for question in questions {
            batch.push(u8::from(question.fits_double));
            batch.extend((question.document.len() as u32).to_be_bytes());
            batch.extend(&question.document);
            count += 1;
        }
        let input = self.process.stdin.as_mut().expect("its input is ours");
        input.write_all(&(batch.len() as u32).to_be_bytes()).expect("write the size of a batch");
        input.write_all(&batch).expect("write a batch");
        input.flush().expect("send a batch");
        let mut answers = vec![0; count * ANSWER_BYTES];
        self.process
            .stdout
            .as_mut()
            .expect("its output is ours")
            .read_exact(&mut answers)
            .expect("read answers");
        answers.as_chunks::<ANSWER_BYTES>().0.iter().map(answer).collect()
    }
}

fn answer(bytes: &[u8; ANSWER_BYTES]) -> Result<Hash, &'static str> {
    let (hash, verdict) = bytes.split_first_chunk::<16>().expect("a hash comes first");
    match verdict {
        b"=" => Ok(*hash),
        b"-" => Err("says that a double changes a number which we let through"),
        b"+" => Err("says that a double keeps all numbers, of which we refuse one"),
        _ => Err("refuses what we accept"),
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // It ends with its input; what it still had to say is of no use.
        drop(self.process.stdin.take());
        let _ended = self.process.wait();
    }
}
