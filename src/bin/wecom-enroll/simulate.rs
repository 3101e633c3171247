//! `simulate`: runs the simulator until it is interrupted.

use std::{io, net::SocketAddr, time::Duration};

use wecom_enroll::simulator::{Fault, Simulator, SimulatorBuilder};

use crate::{
    connect::{DURATIONS, duration},
    exit::Stop,
    signals::interruption,
    ui::stdout::print,
};

/// Run a fake WeCom server on a loopback address, with fault injection
#[derive(clap::Args)]
#[command(after_help = notes())]
pub(crate) struct Args {
    /// Loopback address to listen on; port 0 selects a free port
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Number of enrollees in every meeting
    #[arg(long, value_name = "N", default_value_t = 1000)]
    enrollees: u64,
    /// Delay before each response
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0ms")]
    latency: Duration,
    /// Simulated fault [API:]KIND[=VALUE][@WHEN], for example status=503@3 or errcode=-1@10%.
    /// Repeatable; if several apply to a request, the first one takes effect
    #[arg(long = "fault", value_name = "SPEC")]
    faults: Vec<Fault>,
}

fn notes() -> String {
    let kinds = Fault::kinds().map(|kind| format!("  {kind}")).collect::<Vec<_>>().join("\n");
    format!(
        "Faults are written [API:]KIND[=VALUE][@WHEN]. With gettoken:, approve: or get_config:, a fault applies to \
         requests of this API, otherwise to list requests. KIND[=VALUE] is one of:\n{kinds}\n\n\
         WHEN selects requests, which are counted from 1, separately for each API:\n\
         \x20 N        the Nth request\n\
         \x20 N..M     the Nth to the Mth request, inclusive\n\
         \x20 every:N  every Nth request\n\
         \x20 P%       each request with a probability of P percent\n\
         Without WHEN, the fault applies to every request.\n\n\
         {DURATIONS}\n\n\
         The simulator accepts the credentials WECOM_CORP_ID={} and WECOM_CORP_SECRET={}.",
        Simulator::CORP_ID,
        Simulator::SECRET
    )
}

pub(crate) async fn run(args: Args) -> Result<u8, Stop> {
    let Args { listen, enrollees, latency, faults } = args;
    let builder = Simulator::builder().enrollees(enrollees).latency(latency).listen(listen);
    let simulator =
        faults.into_iter().fold(builder, SimulatorBuilder::fault).start().await.map_err(
            |e| match e.kind() {
                // The address is not a loopback address.
                io::ErrorKind::InvalidInput => Stop::Usage(format!("--listen: {e}")),
                _ => Stop::Failed(format!("cannot listen on {listen}: {e}")),
            },
        )?;
    let interrupted = interruption(None)?;
    let (url, corp_id, secret) = (simulator.base_url(), Simulator::CORP_ID, Simulator::SECRET);
    let text = format!(
        "{url}\nTry: WECOM_CORP_ID={corp_id} WECOM_CORP_SECRET={secret} wecom-enroll export --base-url {url} demo\n"
    );
    // The server is useful even if its address cannot be printed.
    let _ = print(text.as_bytes());
    // An error means that the thread that listens for signals has ended.
    Ok(interrupted.await.unwrap_or(1))
}
