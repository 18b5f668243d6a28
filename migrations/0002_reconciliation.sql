-- Reconciliations: asked for, carried out one at a time a pipeline, and kept with their reports.

-- When a gap was last marked: a run that began later covers it.
alter table accord.pipeline add column gap_marked_at timestamptz;
update accord.pipeline set gap_marked_at = now() where gap_since is not null;

-- One run. While it runs, its process holds the pipeline's advisory lock: a row that says `running` without the
-- lock being held is that of a process that died.
create table accord.reconciliation (
    id             bigint generated always as identity primary key,
    pipeline       smallint not null references accord.pipeline,
    mode           text not null check (mode in ('diff', 'repair')),
    trigger        text not null check (trigger in ('manual', 'schedule', 'gap', 'release')),
    state          text not null default 'queued' check (state in
        ('queued', 'running', 'clean', 'drift', 'repaired', 'held', 'inconclusive', 'aborted')),
    requested_at   timestamptz not null default clock_timestamp(),
    started_at     timestamptz,
    finished_at    timestamptz,
    position       bigint, -- of the pipeline's ledger when the run began
    progress       jsonb,
    report         jsonb,
    releases       bigint references accord.reconciliation on delete set null, -- the held run whose limits it lifts
    release_reason text
);
create unique index reconciliation_queued on accord.reconciliation (pipeline) where state = 'queued';
create unique index reconciliation_running on accord.reconciliation (pipeline) where state = 'running';
create index reconciliation_pipeline on accord.reconciliation (pipeline, id);
-- A held run is released once; again only when nothing came of it.
create unique index reconciliation_released on accord.reconciliation (releases)
    where state not in ('aborted', 'inconclusive');

-- The silent source: intervals in a row in which rows went stale and no webhook came; declared silent since then.
alter table accord.registration add column silent_intervals integer not null default 0;
alter table accord.registration add column silent_since timestamptz;
