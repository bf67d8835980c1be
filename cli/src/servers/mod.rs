//! `cereus servers`: who is in the cluster.

mod etcd;
mod list;
mod watch;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Args;

use self::{
    etcd::{Etcd, Settings},
    list::Entry,
    watch::Watch,
};
use crate::{connect::seconds, failure::Failure, output::print_line};

/// What `--help` ends with.
pub(crate) const AFTER_HELP: &str = "\
Examples:
  cereus servers http://localhost:2379
  cereus servers http://etcd-1:2379,http://etcd-2:2379 --prefix game/ --type room --watch
  cereus servers https://etcd:2379 --ca ca.pem --user ops --password-env ETCD_PASSWORD --json

TTL is what is left of a record's lease, and what it lasts when it is kept alive. AGE is known of servers that came while somebody \
was watching.";

/// Show which servers are in the cluster, as their records in etcd tell.
#[derive(Args, Debug)]
pub(crate) struct Servers {
    /// http://host:port or https://host:port of etcd; several, with commas between them: the first that answers is asked.
    #[arg(value_name = "ETCD_URL", value_delimiter = ',', required = true, value_parser = endpoint)]
    etcd: Vec<String>,
    /// What all keys begin with, the slash at its end included.
    #[arg(long, value_name = "PREFIX", default_value = "pitaya/")]
    prefix: String,
    /// Only servers of this type. May be given several times.
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Stay, and show what changes: a table that is drawn again on a terminal, a line for each change elsewhere.
    #[arg(long)]
    watch: bool,
    /// Print one JSON object, or one for each change.
    #[arg(long)]
    json: bool,
    /// The user of etcd.
    #[arg(long, value_name = "NAME", help_heading = "Connection")]
    user: Option<String>,
    /// The user's password. Others on this machine may see it: --password-env does not show it.
    #[arg(
        long,
        value_name = "PASSWORD",
        requires = "user",
        conflicts_with = "password_env",
        help_heading = "Connection"
    )]
    password: Option<String>,
    /// The environment variable with the user's password.
    #[arg(long, value_name = "VARIABLE", requires = "user", help_heading = "Connection")]
    password_env: Option<String>,
    /// For https: the authorities, a PEM file, that vouch for etcd. Those of this machine are not looked at.
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    ca: Option<PathBuf>,
    /// The certificate that etcd knows this client by, a PEM file.
    #[arg(long, value_name = "FILE", requires_all = ["key", "ca"], help_heading = "Connection")]
    cert: Option<PathBuf>,
    /// The private key of that, a PEM file.
    #[arg(long, value_name = "FILE", requires = "cert", help_heading = "Connection")]
    key: Option<PathBuf>,
    /// How long an answer may take, in seconds.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds, help_heading = "Connection")]
    timeout: Duration,
}

fn endpoint(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match rest.map(|rest| rest.strip_suffix('/').unwrap_or(rest)) {
        Some(place) if !place.is_empty() && !place.contains(['/', '@', ' ']) => Ok(text.to_owned()),
        _ => Err("write it as http://host:port or https://host:port".to_owned()),
    }
}

/// A PEM file with something of this kind in it.
fn read_pem(file: &Path, kind: &str) -> Result<Vec<u8>, Failure> {
    let cannot = |error| Failure::usage(format!("{} cannot be read: {error}", file.display()));
    let text = fs::read(file).map_err(cannot)?;
    match String::from_utf8_lossy(&text).contains(kind) {
        true => Ok(text),
        false => Err(Failure::usage(format!("{} has no `{kind}` in it: give a PEM file", file.display()))),
    }
}

impl Servers {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        let settings = self.settings()?;
        let etcd = Etcd::connect(&settings).await.map_err(Failure::failed)?;
        if self.watch {
            Watch::new(&self, &settings).run(etcd).await?;
            return Ok(ExitCode::SUCCESS);
        }
        let (mut all, _) = etcd.all().await.map_err(Failure::failed)?;
        all.retain(|entry| self.wants(entry));
        etcd.look_up_leases(&mut all.iter_mut().collect::<Vec<_>>()).await.map_err(Failure::failed)?;
        print_line(&if self.json { list::json(all.iter()).to_string() } else { list::table(all.iter()) })?;
        Ok(ExitCode::SUCCESS)
    }

    fn settings(&self) -> Result<Settings, Failure> {
        let password = match (&self.password, &self.password_env) {
            (Some(password), _) => Some(password.clone()),
            (None, Some(name)) => {
                Some(env::var(name).map_err(|error| Failure::usage(format!("the variable {name}: {error}")))?)
            }
            (None, None) => None,
        };
        let user = match (&self.user, password) {
            (Some(user), Some(password)) => Some((user.clone(), password)),
            (Some(_), None) => return Err(Failure::usage("a user has a password: --password-env names its variable")),
            (None, _) => None,
        };
        let is_encrypted = self.etcd.iter().any(|endpoint| endpoint.starts_with("https://"));
        let ca = match &self.ca {
            None if is_encrypted => {
                return Err(Failure::usage("https needs --ca: those of this machine are not looked at"));
            }
            None => None,
            Some(_) if !is_encrypted => return Err(Failure::usage("--ca is for https, and this is http")),
            Some(file) => Some(read_pem(file, "CERTIFICATE-----")?),
        };
        let identity = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => Some((read_pem(cert, "CERTIFICATE-----")?, read_pem(key, "PRIVATE KEY-----")?)),
            _ => None,
        };
        let (endpoints, prefix) = (self.etcd.clone(), self.prefix.clone());
        Ok(Settings { endpoints, prefix, user, ca, identity, patience: self.timeout })
    }

    fn wants(&self, entry: &Entry) -> bool {
        let server_type = entry.server_type(&self.prefix);
        self.types.is_empty() || self.types.iter().any(|wanted| Some(wanted.as_str()) == server_type)
    }
}
