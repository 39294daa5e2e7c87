//! Opens the file named on the command line for writing, once with each old version, commits a row, and says on a
//! line each how that went.

macro_rules! attempt {
    ($version:literal, $redb:ident, $path:expr) => {
        let commit = || -> Result<(), Box<dyn std::error::Error>> {
            let table: $redb::TableDefinition<'_, &[u8], &[u8]> = $redb::TableDefinition::new("intruder");
            let database = $redb::Database::open($path)?;
            let transaction = database.begin_write()?;
            transaction.open_table(table)?.insert(&b"k"[..], &b"v"[..])?;
            Ok(transaction.commit()?)
        };
        match commit() {
            Ok(()) => println!("{} committed", $version),
            Err(error) => println!("{} refused: {error}", $version),
        }
    };
}

fn main() {
    let path = std::env::args_os().nth(1).expect("the file is named on the command line");
    attempt!("3.1", redb_3_1, &path);
    attempt!("4.2", redb_4_2, &path);
}
