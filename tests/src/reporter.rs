//! A filter's reports without a filter: one batch to the server, as the proxy would pass it on.

use std::net::SocketAddr;

use bytes::{Buf as _, BufMut as _, Bytes};
use palisade_core::report::{METHOD, SERVICE, ServerId, read_reply, write_message};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Status};

/// What the server says to these bytes: who acknowledges, or the status.
pub fn submit(server: SocketAddr, batch: &[u8]) -> Result<ServerId, Code> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let channel =
            tonic::transport::Endpoint::from_shared(format!("http://{server}")).expect("an address");
        let channel = channel.connect().await.map_err(|_| Code::Unavailable)?;
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.map_err(|_| Code::Unavailable)?;
        let path = PathAndQuery::try_from(format!("/{SERVICE}/{METHOD}")).expect("a path");
        let reply = client.unary(Request::new(write_message(batch)), path, Raw).await;
        let reply = reply.map_err(|status| status.code())?.into_inner();
        Ok(read_reply(&reply).expect("an acknowledgement names the server"))
    })
}

/// Messages as they are.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put(item.as_slice());
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, input: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(input.copy_to_bytes(input.remaining())))
    }
}
