-- Purging an entry keeps how it was closed before: `{"state", "at", "by", "reason", "position"}`.
alter table accord.quarantine add column closed_before jsonb;

-- Entries that a replay of many counted and did not try.
alter table accord.replay add column left_out bigint not null default 0;
