//! The tables and columns a target may name.

/// A table a target may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    Agents,
    Commands,
    Actions,
    Signatures,
    /// Only in conditions about loaders, see [`super::LoaderTarget`].
    Loaders,
}

impl Table {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agents => "agents",
            Self::Commands => "commands",
            Self::Actions => "actions",
            Self::Signatures => "signatures",
            Self::Loaders => "loaders",
        }
    }

    /// A table of a sub-select, by its name in lower case.
    pub(super) fn of_sub_select(name: &str) -> Option<Self> {
        [Self::Commands, Self::Actions, Self::Signatures].into_iter().find(|t| t.name() == name)
    }

    const fn columns(self) -> &'static [(&'static str, ColumnType)] {
        use ColumnType::{Integer, Json, Text, Time};
        match self {
            Self::Agents => &[
                ("id", Integer),
                ("name", Text),
                ("queueloc", Text),
                ("mode", Text),
                ("version", Text),
                ("pid", Integer),
                ("starttime", Time),
                ("heartbeattime", Time),
                ("refreshtime", Time),
                ("destructiontime", Time),
                ("status", Text),
                ("environment", Json),
                ("tags", Json),
                ("loadername", Text),
            ],
            Self::Commands => &[
                ("id", Integer),
                ("actionid", Integer),
                ("agentid", Integer),
                ("status", Text),
                ("results", Json),
                ("starttime", Time),
                ("finishtime", Time),
            ],
            Self::Actions => &[
                ("id", Integer),
                ("name", Text),
                ("target", Text),
                ("validfrom", Time),
                ("expireafter", Time),
                ("starttime", Time),
                ("finishtime", Time),
                ("lastupdatetime", Time),
                ("status", Text),
                ("syntaxversion", Integer),
            ],
            Self::Signatures => &[("actionid", Integer), ("investigatorid", Integer)],
            // What the role that evaluates conditions may read, and no more.
            Self::Loaders => &[
                ("id", Integer),
                ("env", Json),
                ("tags", Json),
                ("expectenv", Text),
                ("loadername", Text),
                ("queueloc", Text),
            ],
        }
    }

    /// The column of that name, in lower case.
    pub(super) fn column(self, name: &str) -> Option<Column> {
        let (name, kind) = *self.columns().iter().find(|(column, _)| *column == name)?;
        Some(Column { table: self, name, kind })
    }

    /// All column names, for messages.
    pub(super) fn column_names(self) -> String {
        let names: Vec<&str> = self.columns().iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    Text,
    Integer,
    Time,
    Json,
}

/// A column of one of the tables; never any other name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    pub table: Table,
    pub name: &'static str,
    pub kind: ColumnType,
}
