//! As whom the daemon appears: to AWS and in a database.
//!
//! Decides: that the last assumed role acts for a warehouse, else the daemon's own.

use crate::config::{Arn, Auth, Config, View, Warehouse};

/// The role with which a warehouse is asked, if it can be known.
pub(super) fn acting_role<'a>(config: &'a Config, warehouse: &'a Warehouse) -> Option<&'a str> {
    let last = warehouse.assume_role.last();
    last.map(|role| role.arn.as_str())
        .or(config.daemon.role_arn.as_deref())
}

/// The database user that the view's statements run as, if it can be known.
pub(super) fn database_user(config: &Config, view: &View) -> Option<String> {
    match &view.auth {
        Auth::DbUser(user) => Some(user.clone()),
        Auth::SecretArn(_) => None,
        Auth::Iam => {
            let warehouse = config.warehouses.get(&view.warehouse)?;
            let role = Arn::split(acting_role(config, warehouse)?)?;
            Some(format!("IAMR:{}", role.name()))
        }
    }
}
