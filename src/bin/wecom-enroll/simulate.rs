//! `simulate`: a made-up WeCom on a loopback port, until it is interrupted.

use std::{
    io::{self, Write},
    net::SocketAddr,
    time::Duration,
};

use wecom_enroll::simulator::{Fault, Simulator, SimulatorBuilder};

use crate::{Stop, connect::duration, interruption};

/// Serve made-up enrollees on a loopback port, with faults on request
#[derive(clap::Args)]
#[command(after_help = faults())]
pub(crate) struct Args {
    /// Where to listen; a loopback address, port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// How many have enrolled, in every meeting
    #[arg(long, value_name = "N", default_value_t = 1000)]
    enrollees: u64,
    /// How long each reply is held back
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0ms")]
    latency: Duration,
    /// What goes wrong, [gettoken:]KIND[=VALUE][@WHEN], for instance status=503@3 or errcode=-1@10%;
    /// may be repeated
    #[arg(long = "fault", value_name = "SPEC")]
    faults: Vec<Fault>,
}

/// The library tells them to who gives one that there is not.
fn faults() -> String {
    let told = "".parse::<Fault>().err().map_or_else(String::new, |error| error.to_string());
    let kinds = told.split_once("the kinds are ").map_or("", |(_, kinds)| kinds);
    format!(
        "Faults: KIND is one of {kinds}. WHEN is N, N..M, every:N or P%, counted from 1; without it, always.\n\n\
         Credentials that it takes: WECOM_CORP_ID={}, WECOM_CORP_SECRET={}.",
        Simulator::CORP_ID,
        Simulator::SECRET
    )
}

pub(crate) async fn run(args: Args) -> Result<u8, Stop> {
    let Args { listen, enrollees, latency, faults } = args;
    if !listen.ip().is_loopback() {
        let ip = listen.ip();
        return Err(Stop::usage(format!("--listen: {ip} is not a loopback address")));
    }
    let builder = Simulator::builder().enrollees(enrollees).latency(latency).listen(listen);
    let simulator = faults
        .into_iter()
        .fold(builder, SimulatorBuilder::fault)
        .start()
        .await
        .map_err(|e| Stop::failed(format!("cannot listen on {listen}: {e}")))?;
    let interrupted = interruption(None)?;
    // Whoever closed standard output knows the address already.
    let _ = introduce(&simulator.base_url());
    // An error says that the watcher is gone, and so is its runtime.
    let _ = interrupted.await;
    Ok(0)
}

fn introduce(url: &str) -> io::Result<()> {
    let (corp_id, secret) = (Simulator::CORP_ID, Simulator::SECRET);
    let mut out = io::stdout().lock();
    writeln!(out, "{url}")?;
    writeln!(
        out,
        "Try: WECOM_CORP_ID={corp_id} WECOM_CORP_SECRET={secret} wecom-enroll export --base-url {url} demo"
    )?;
    out.flush()
}
