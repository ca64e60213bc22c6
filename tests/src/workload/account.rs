//! Users and roles.

use bson::doc;

use super::run::Runner;

impl Runner<'_> {
    /// Creates, changes or drops a user or a role. There are few names, so that they meet again.
    pub(super) async fn account(&mut self) {
        let home = self.world.databases()[0].clone();
        let db = if self.dice.percent(50) { home.clone() } else { "admin".to_owned() };
        let name = format!("{home}.{}", self.dice.pick(&["reader", "wri.ter", "Ä"]));
        let role = format!("{home}.role{}", self.dice.below(3));
        let resource = doc! {"db": &home, "collection": *self.dice.pick(&["", "orders"])};
        let privilege = doc! {"resource": resource, "actions": ["find", "insert"]};
        let builtin = doc! {"role": "readWrite", "db": &home};
        let own = doc! {"role": &role, "db": &db};
        let mechanisms = ["SCRAM-SHA-256", "SCRAM-SHA-1"];
        let mechanisms = &mechanisms[..1 + self.dice.below(2)];
        let command = match self.dice.below(16) {
            0..5 => doc! {
                "createUser": name, "pwd": "not-a-secret", "roles": [builtin], "mechanisms": mechanisms,
                "customData": {"n": self.dice.small()},
                "authenticationRestrictions": [{"clientSource": ["127.0.0.1"]}],
            },
            5 => doc! {"updateUser": name, "customData": {"n": self.dice.small()}},
            6 => doc! {"updateUser": name, "pwd": "still-not-a-secret"},
            7 => doc! {"grantRolesToUser": name, "roles": [own]},
            8 => doc! {"dropUser": name},
            9..12 => doc! {"createRole": role, "privileges": [privilege], "roles": [builtin]},
            12 => doc! {"updateRole": role, "privileges": [privilege]},
            13 => doc! {"grantRolesToRole": role, "roles": [builtin]},
            _ => doc! {"dropRole": role},
        };
        self.command(&db, command).await;
    }
}
