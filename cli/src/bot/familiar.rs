//! What those type who come from pitaya-bot.

use clap::Args;

/// Options of pitaya-bot's command line that nothing else here stands for.
#[derive(Args, Debug)]
#[command(next_help_heading = "As pitaya-bot")]
pub(super) struct Familiar {
    /// Where the bots run: `local`, in this process, is all there is.
    #[arg(short = 't', long, value_name = "TYPE", default_value = "local", hide_default_value = true, value_parser = local)]
    pitaya_bot_type: String,
    /// Nothing: there is nothing in a cluster that could be deleted.
    #[arg(long)]
    pub(super) delete: bool,
    /// 0, 1: show nothing while it runs, as --quiet; 2: how it goes; 3: each step of each bot, and what came.
    #[arg(short, long, value_name = "LEVEL", default_value_t = 2)]
    pub(super) verbose: u8,
}

fn local(text: &str) -> Result<String, String> {
    match text {
        "local" => Ok(text.to_owned()),
        "local-manager" | "remote-manager" | "deploy-manager" | "delete-all" => Err(format!(
            "there is no `{text}`, for nothing here manages a cluster: one process runs all bots of all specs (see --instances). \
             To have them in Kubernetes, let a Job of yours run `cereus bot run` in a container, with specs and configuration \
             from a config map; `parallelism` of the Job says how often, `kubectl delete job` ends it"
        )),
        _ => Err("it can only be `local`".to_owned()),
    }
}
