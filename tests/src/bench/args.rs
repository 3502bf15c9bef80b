//! Arguments of `bench`.

/// Arguments of `bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How often each case has its turn
    #[arg(long, default_value_t = 31, value_name = "NUMBER")]
    pub(super) rounds: usize,
    /// How often a program runs in one turn
    #[arg(long, default_value_t = 1_000_000, value_name = "NUMBER")]
    pub(super) repeat: u32,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
}
