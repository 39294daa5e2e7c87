//! `cohab txn`

use std::path::{Path, PathBuf};

use clap::Args;
use cohab::limits::{BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX};
use cohab::{Batch, Fence, Precondition};
use cohab_exchange::{Expectation, Operation, input, operations};

use super::bytes::input_must_be_open;
use super::{Outcome, committed};
use crate::failure::{Failure, in_file};
use crate::interrupt;
use crate::session::Session;

/// Carry out operations, one JSON object a line, in one atomic transaction
///
/// The operations are {"put":{"ns","key","value"}}, {"del":{"ns","key"}}, and {"expect":…} with a key's "value",
/// "version" or "absent", a namespace's "data_version" or "meta_version", or the store's "version". If an expectation
/// fails nothing is done, and every one that failed is named: exit code 8. Without operations the version stays.
///
/// {"expect":{"lock","token"}} shows the fencing token of a lock that `cohab run` holds, with "shared":true for one that
/// is shared. If a later holder of the lock has shown its own, nothing is done: exit code 9.
#[derive(Debug, Args)]
pub(crate) struct Txn {
    /// Where the operations are; - is the standard input
    #[arg(default_value = "-", hide_default_value = true)]
    file: PathBuf,
    /// Create the namespaces of puts that are not there
    #[arg(long)]
    create: bool,
    /// What the log calls the transaction
    #[arg(long, default_value = "cohab txn", hide_default_value = true)]
    label: String,
}

impl Txn {
    pub(super) fn run(self, session: &mut Session) -> Outcome {
        if self.file == Path::new("-") {
            input_must_be_open()?;
        }
        let reader = input::open(&self.file).map_err(in_file(&self.file))?;
        let mut batch = Batch::new().label(self.label);
        let (mut count, mut bytes) = (0, 0);
        for operation in operations(reader) {
            interrupt::check()?;
            let operation = operation.map_err(in_file(&self.file))?;
            count += 1;
            bytes += weight(&operation);
            // At once, so that memory is bounded whatever comes through the pipe.
            if count > BATCH_OPERATIONS_MAX || bytes > BATCH_BYTES_MAX {
                return Err(too_large());
            }
            batch = add(batch, operation, self.create)?;
        }
        let version = session.writer()?.submit(batch)?;
        committed(session, version)
    }
}

fn too_large() -> Failure {
    let most = format!("{BATCH_OPERATIONS_MAX} operations with {BATCH_BYTES_MAX} bytes of keys and values");
    Failure::input(format!("the transaction is too large: the most is {most}"))
        .hint("`cohab load` takes any number of entries in one transaction; or split it up")
}

/// How many bytes an operation adds to a batch.
fn weight(operation: &Operation) -> usize {
    match operation {
        Operation::Put { key, value, .. } | Operation::Expect(Expectation::Value { key, value, .. }) => {
            key.len() + value.len()
        }
        Operation::Del { key, .. } => key.len(),
        _ => 0,
    }
}

/// Adds an operation to a batch.
pub(super) fn add(batch: Batch, operation: Operation, create: bool) -> Result<Batch, Failure> {
    Ok(match operation {
        Operation::Put { ns, key, value, create: own } if create || own => {
            batch.put_creating(&ns, key, value)
        }
        Operation::Put { ns, key, value, .. } => batch.put(&ns, key, value),
        Operation::Del { ns, key } => batch.delete(&ns, key),
        Operation::Expect(Expectation::Lock { lock, token, shared }) => {
            let fence = Fence::new(lock, token);
            batch.fence(if shared { fence.shared() } else { fence })
        }
        Operation::Expect(expectation) => batch.expect(precondition(expectation)?),
        other => return Err(Failure::defect(format!("no such operation is known: {other:?}"))),
    })
}

fn precondition(expectation: Expectation) -> Result<Precondition, Failure> {
    Ok(match expectation {
        Expectation::Value { ns, key, value } => Precondition::value(&ns, key, value),
        Expectation::KeyVersion { ns, key, version } => Precondition::key_version(&ns, key, version),
        Expectation::Present { ns, key } => Precondition::present(&ns, key),
        Expectation::Absent { ns, key } => Precondition::absent(&ns, key),
        Expectation::DataVersion { ns, version } => Precondition::DataVersion { namespace: ns, version },
        Expectation::MetaVersion { ns, version } => Precondition::MetaVersion { namespace: ns, version },
        Expectation::StoreVersion(version) => Precondition::StoreVersion(version),
        other => return Err(Failure::defect(format!("no such expectation is known: {other:?}"))),
    })
}
