/// In the order of the document.
const ACCEPTED: &[Accepted] = &[
    Accepted {
        requests: "03",
        at: "body",
        reason: "the same key packets under the kind of packet header GnuPG wrote; the original rewrites the headers",
    },
    Accepted {
        requests: "05, 06, 15, 16, 33, 67",
        at: ".isadmin",
        reason: "clients of early 2016 read it; all others ignore unknown members",
    },
    Accepted {
        requests: "05, 67",
        at: ".data.length",
        reason: "two more values tell whether a scheduler works and reaches the relay; clients pass over names they do not know",
    },
    Accepted {
        requests: "08, 09, 12",
        at: "status",
        reason: "a missing or malformed id blames the caller: 400",
    },
    Accepted {
        requests: "08, 09, 12",
        at: ".error.message",
        reason: "a sentence about the id instead of an internal error",
    },
    Accepted {
        requests: "10, 34, 35",
        at: "value.action.*",
        reason: "the action is whole, with status, times, counters and signers; the original leaves them out or zero",
    },
    Accepted {
        requests: "10, 34, 35",
        at: "value.agent.*",
        reason: "the agent is whole; the original fills in some members only",
    },
    Accepted {
        requests: "13",
        at: "value.destructiontime",
        reason: "the value of the row, as in searches; the original does not read it here",
    },
    Accepted {
        requests: "36",
        at: "value.refreshts",
        reason: "the value of the row, as in `GET agent`; the original does not read it here",
    },
    Accepted {
        requests: "21, 22, 23, 24, 25, 28, 32, 39, 60",
        at: "status",
        reason: "a search without any effective filter finds everything up to the limit; the original builds faulty SQL",
    },
    Accepted { requests: "26", at: "status", reason: "the same: nothing is found, which is 404" },
    Accepted {
        requests: "26",
        at: ".error.message",
        reason: "`no results found`, and no SQL in a message",
    },
    Accepted {
        requests: "27, 30, 37, 38",
        at: "status",
        reason: "an unknown type, a bad target and unreadable parameters blame the caller: 400",
    },
    Accepted {
        requests: "30",
        at: ".error.message",
        reason: "targets are read by our parser: place and reason instead of the database's words",
    },
    Accepted {
        requests: "37, 38",
        at: ".error.message",
        reason: "our own words; clients test for no text but `no results found`",
    },
    Accepted { requests: "37", at: "value.limit", reason: "the limit that would have been used" },
    Accepted {
        requests: "40, 41, 42",
        at: "status",
        reason: "a malformed or unsigned action blames the caller: 400",
    },
    Accepted {
        requests: "40, 41, 42",
        at: ".error.message",
        reason: "our own words; clients test for no text but `no results found`",
    },
    Accepted {
        requests: "45, 46",
        at: ".error",
        reason: "our own words; clients test for no text but `no results found`; the public address may be empty; the fields are listed in a fixed order",
    },
    Accepted { requests: "49, 50", at: "status", reason: "a bad form blames the caller: 400" },
    Accepted {
        requests: "49",
        at: ".error.message",
        reason: "both kinds of forms are read, so the fault found is another one",
    },
    Accepted {
        requests: "51",
        at: "status",
        reason: "an investigator may be created with a plain form and without a key",
    },
    Accepted {
        requests: "54, 55",
        at: "status",
        reason: "a name that is taken is a conflict: 409, without the database's words",
    },
    Accepted {
        requests: "62, 63, 64, 65",
        at: ".error.message",
        reason: "our own words; clients test for no text but `no results found`",
    },
];
