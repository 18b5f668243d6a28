-- Which contract judges a pipeline's changes, and which did before. The newest row of a pipeline is in force: what a
-- file says counts from its activation on.
create table accord.activation (
    id           bigint generated always as identity primary key,
    pipeline     smallint not null references accord.pipeline,
    contract     integer not null references accord.contract,
    at           timestamptz not null default clock_timestamp(),
    activated_by text not null,
    -- Although what is stored would be refused by it.
    forced       boolean not null default false,
    reason       text,
    -- What it was known to mean for what was stored.
    preview      jsonb
);
create index activation_pipeline on accord.activation (pipeline, id);
