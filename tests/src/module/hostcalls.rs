//! The calls of the ABI and of WASI that the filter makes, between its memory and the host's state.

use wasmi::{Caller, Error, Extern, Memory, Val};

use super::host::{Answer, GrpcCall, Host, LocalReply, NOT_FOUND, encode_pairs};

/// A status outside of the ABI's numbers would be the host's own fault.
const BAD_ARGUMENT: u32 = 2;

/// What the filter gave to one call, and its memory.
struct Call<'c, 'given> {
    caller: Caller<'c, Host>,
    memory: Memory,
    given: &'given [Val],
}

pub(super) fn serve(
    name: &str,
    caller: Caller<'_, Host>,
    given: &[Val],
    answers: &mut [Val],
) -> Result<(), Error> {
    let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
        return Err(Error::new("the module has no memory"));
    };
    let mut call = Call { caller, memory, given };
    let status = if name.starts_with("proxy_") { call.proxy(name)? } else { call.wasi(name)? };
    if let Some(answer) = answers.first_mut() {
        *answer = Val::I32(status as i32);
    }
    Ok(())
}

impl Call<'_, '_> {
    fn host(&mut self) -> &mut Host {
        self.caller.data_mut()
    }

    fn number(&self, at: usize) -> u32 {
        self.given.get(at).and_then(Val::i32).map(|value| value as u32).expect("a number was given")
    }

    /// Bytes by a pointer and, behind it, their length.
    fn bytes(&self, at: usize) -> Result<Vec<u8>, Error> {
        self.read(self.number(at), self.number(at + 1))
    }

    fn read(&self, from: u32, count: u32) -> Result<Vec<u8>, Error> {
        let all = self.memory.data(&self.caller);
        let place = (from as usize).checked_add(count as usize).and_then(|end| all.get(from as usize..end));
        place.map(<[u8]>::to_vec).ok_or_else(|| Error::new(format!("{count} bytes at {from} are outside")))
    }

    fn text(&self, at: usize) -> Result<String, Error> {
        String::from_utf8(self.bytes(at)?).map_err(|_| Error::new("a text that is not UTF-8"))
    }

    fn write(&mut self, to: u32, bytes: &[u8]) -> Result<(), Error> {
        self.memory.write(&mut self.caller, to as usize, bytes).map_err(|error| Error::new(error.to_string()))
    }

    fn write_number(&mut self, to: u32, number: u32) -> Result<(), Error> {
        self.write(to, &number.to_le_bytes())
    }

    /// Puts bytes into memory that the filter itself allots, as a proxy does.
    fn hand_over(&mut self, bytes: &[u8], data_at: usize) -> Result<(), Error> {
        let Some(Extern::Func(allot)) = self.caller.get_export("proxy_on_memory_allocate") else {
            return Err(Error::new("the module allots no memory"));
        };
        let mut answer = [Val::I32(0)];
        allot.call(&mut self.caller, &[Val::I32(bytes.len() as i32)], &mut answer)?;
        let [Val::I32(data)] = answer else { return Err(Error::new("no pointer was answered")) };
        self.write(data as u32, bytes)?;
        self.write_number(self.number(data_at), data as u32)?;
        self.write_number(self.number(data_at + 1), bytes.len() as u32)
    }

    /// Answers a call that asks for bytes.
    fn tell(&mut self, name: &str, answer: Answer, data_at: usize) -> Result<(u32, Option<Vec<u8>>), Error> {
        match self.host().answer(name, answer) {
            Answer::Bytes(bytes) => {
                self.hand_over(&bytes, data_at)?;
                Ok((0, Some(bytes)))
            }
            Answer::Failed(status) => Ok((status, None)),
            Answer::Done | Answer::Number(_) => {
                self.write_number(self.number(data_at), 0)?;
                self.write_number(self.number(data_at + 1), 0)?;
                Ok((0, None))
            }
        }
    }

    /// Answers a call that wants something done; true: it is to be done.
    fn may(&mut self, name: &str) -> Result<(), u32> {
        match self.host().answer(name, Answer::Done) {
            Answer::Failed(status) => Err(status),
            Answer::Done | Answer::Bytes(_) | Answer::Number(_) => Ok(()),
        }
    }

    fn proxy(&mut self, name: &str) -> Result<u32, Error> {
        match name {
            "proxy_log" => {
                let line = self.text(1)?;
                self.host().logs.push(line);
                Ok(0)
            }
            "proxy_get_current_time_nanoseconds" => {
                let now = Answer::Number(self.host().time_ns);
                match self.host().answer(name, now) {
                    Answer::Number(time_ns) => self.write(self.number(0), &time_ns.to_le_bytes()).map(|()| 0),
                    Answer::Failed(status) => Ok(status),
                    Answer::Done | Answer::Bytes(_) => Ok(0),
                }
            }
            "proxy_set_tick_period_milliseconds" => {
                let period_ms = self.number(0);
                Ok(self.may(name).map(|()| self.host().tick_period_ms = Some(period_ms)).err().unwrap_or(0))
            }
            // The context is one that called, so that a proxy always has it.
            "proxy_set_effective_context" => {
                self.host().context = self.number(0);
                Ok(0)
            }
            "proxy_get_buffer_bytes" => self.buffer(name),
            "proxy_get_header_map_pairs" => {
                let map = self.number(0);
                let pairs = self.host().pairs(map).map(|pairs| encode_pairs(pairs));
                let answer = pairs.map_or(Answer::Failed(BAD_ARGUMENT), Answer::Bytes);
                let (status, told) = self.tell(name, answer, 1)?;
                if map == 0 {
                    self.host().stream().headers_given = told;
                }
                Ok(status)
            }
            "proxy_get_header_map_value" => {
                let (map, wanted) = (self.number(0), self.bytes(1)?);
                let pairs = self.host().pairs(map);
                let found = pairs.and_then(|pairs| pairs.iter().find(|(name, _)| *name == wanted));
                let answer =
                    found.map_or(Answer::Failed(NOT_FOUND), |(_, value)| Answer::Bytes(value.clone()));
                self.tell(name, answer, 3).map(|(status, _)| status)
            }
            "proxy_replace_header_map_value"
            | "proxy_add_header_map_value"
            | "proxy_remove_header_map_value" => self.change_header(name),
            "proxy_get_property" => {
                let path = self.bytes(0)?;
                let found = self.host().stream().properties.get(&path).cloned();
                let answer = found.map_or(Answer::Failed(NOT_FOUND), Answer::Bytes);
                self.tell(name, answer, 2).map(|(status, _)| status)
            }
            "proxy_set_property" => {
                let (path, value) = (self.bytes(0)?, self.bytes(2)?);
                let set = self.may(name).map(|()| self.host().stream().properties.insert(path, value));
                Ok(set.err().unwrap_or(0))
            }
            "proxy_get_shared_data" => {
                let key = self.bytes(0)?;
                let found = self.host().shared.get(&key).cloned();
                let answer = found.map_or(Answer::Failed(NOT_FOUND), Answer::Bytes);
                let (status, _) = self.tell(name, answer, 2)?;
                self.write_number(self.number(4), 1).map(|()| status)
            }
            "proxy_set_shared_data" => {
                let (key, value) = (self.bytes(0)?, self.bytes(2)?);
                let set = self.may(name).map(|()| self.host().shared.insert(key, value));
                Ok(set.err().unwrap_or(0))
            }
            "proxy_send_local_response" => {
                let (status, grpc_status) = (self.number(0), self.number(7));
                let (details, body) = (self.text(1)?, self.text(3)?);
                self.host().stream().replies.push(LocalReply { status, details, body, grpc_status });
                Ok(self.may(name).err().unwrap_or(0))
            }
            "proxy_grpc_call" => {
                let (cluster, message) = (self.bytes(0)?, self.bytes(8)?);
                if let Err(status) = self.may(name) {
                    return Ok(status);
                }
                let token = self.host().next_token;
                self.host().next_token += 1;
                self.host().calls.push(GrpcCall { token, cluster, message });
                self.write_number(self.number(11), token).map(|()| 0)
            }
            unknown => Err(Error::new(format!("this host does not play `{unknown}`"))),
        }
    }

    fn buffer(&mut self, name: &str) -> Result<u32, Error> {
        let (buffer, start, count) = (self.number(0), self.number(1) as usize, self.number(2) as usize);
        let answer = match self.host().buffer(buffer) {
            None => Answer::Failed(BAD_ARGUMENT),
            Some(bytes) => {
                let start = start.min(bytes.len());
                let end = start.saturating_add(count).min(bytes.len());
                // Where there is nothing, a proxy says that it was not found, or gives a null pointer.
                if start == end { Answer::Done } else { Answer::Bytes(bytes[start..end].to_vec()) }
            }
        };
        let (status, told) = self.tell(name, answer, 3)?;
        if buffer == 0 {
            self.host().stream().body_given = told;
        }
        Ok(status)
    }

    fn change_header(&mut self, name: &str) -> Result<u32, Error> {
        let (map, header) = (self.number(0), self.text(1)?);
        let removes = name == "proxy_remove_header_map_value";
        let value = if removes { String::new() } else { self.text(3)? };
        if let Err(status) = self.may(name) {
            self.host().stream().change_failed = true;
            return Ok(status);
        }
        if let Some(pairs) = self.host().pairs(map) {
            if name != "proxy_add_header_map_value" {
                pairs.retain(|(known, _)| *known != header.as_bytes());
            }
            if !removes {
                pairs.push((header.clone().into_bytes(), value.clone().into_bytes()));
            }
        }
        let stream = self.host().stream();
        if removes {
            stream.headers_removed.push(header);
        } else {
            stream.headers_set.push((header, value));
        }
        Ok(0)
    }

    fn wasi(&mut self, name: &str) -> Result<u32, Error> {
        match name {
            "random_get" => {
                let (to, count) = (self.number(0), self.number(1) as usize);
                let random = Answer::Bytes(self.host().random.bytes(count));
                match self.host().answer(name, random) {
                    Answer::Bytes(bytes) => self.write(to, &bytes).map(|()| 0),
                    Answer::Failed(errno) => Ok(errno),
                    Answer::Done | Answer::Number(_) => Ok(0),
                }
            }
            "environ_sizes_get" => {
                let sizes = self
                    .environment()
                    .iter()
                    .fold((0, 0), |(count, size), line| (count + 1, size + line.len()));
                self.write_number(self.number(0), sizes.0)?;
                self.write_number(self.number(1), sizes.1 as u32).map(|()| 0)
            }
            "environ_get" => {
                let (mut pointer, mut text) = (self.number(0), self.number(1));
                for line in self.environment() {
                    self.write_number(pointer, text)?;
                    self.write(text, &line)?;
                    pointer += 4;
                    text += line.len() as u32;
                }
                Ok(0)
            }
            "fd_write" => {
                let (list, count, written_at) = (self.number(1), self.number(2), self.number(3));
                let mut written = 0;
                for at in 0..count {
                    let parts = self.read(list + at * 8, 8)?;
                    let (parts, _) = parts.as_chunks::<4>();
                    let bytes = self.read(u32::from_le_bytes(parts[0]), u32::from_le_bytes(parts[1]))?;
                    written += bytes.len() as u32;
                    self.host().stderr.extend(bytes);
                }
                self.write_number(written_at, written).map(|()| 0)
            }
            "proc_exit" => Err(Error::i32_exit(self.number(0) as i32)),
            unknown => Err(Error::new(format!("this host does not play `{unknown}`"))),
        }
    }

    /// Each `NAME=VALUE` with its zero byte.
    fn environment(&mut self) -> Vec<Vec<u8>> {
        let line = |(name, value): &(String, Vec<u8>)| [name.as_bytes(), b"=", value, b"\0"].concat();
        self.host().environment.iter().map(line).collect()
    }
}
