//! The rivals' ext_authz servers: as little as possible around one answer, each on one thread.
//!
//! INVARIANT: they take no shortcut that a real server could not take: whole messages, decoded and encoded by tonic.

mod cedar;
mod wire;

use crate::failure::Failure;
use palisade_core::call_id::CallIdMint;
use std::net::SocketAddr;
use tonic::transport::server::TcpIncoming;

pub(crate) use cedar::CALLER;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    answer: Answer,
    #[arg(long)]
    listen: SocketAddr,
}

/// How a rival comes to its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Answer {
    /// Always yes
    Allow,
    /// Always yes, with the call id of the handoff as the decision's id
    Echo,
    /// What Cedar says, through an index by scope over a thousand policies
    Cedar,
}

/// Serves until the process is ended.
pub(crate) fn serve(args: &Args) -> Result<(), Failure> {
    let authorizer = match args.answer {
        Answer::Allow => wire::Authorizer::Allow,
        Answer::Echo => wire::Authorizer::Echo { otherwise: CallIdMint::new([1; 16]).mint(0) },
        Answer::Cedar => wire::Authorizer::Cedar(Box::new(cedar::Indexed::of_a_thousand()?)),
    };
    // One thread: on work-stealing workers a call costs tonic half as much again.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Failure::because("the runtime cannot be started"))?;
    runtime.block_on(async {
        // Set on the listener: the server's own setting does not reach connections that are handed to it.
        let incoming = TcpIncoming::bind(args.listen)
            .map_err(Failure::because(format!("cannot listen on `{}`", args.listen)))?
            .with_nodelay(Some(true));
        tonic::transport::Server::builder()
            .add_service(wire::service(authorizer))
            .serve_with_incoming(incoming)
            .await
            .map_err(Failure::because("the rival's server failed"))
    })
}
