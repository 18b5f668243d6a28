-- Fills the table from the CSV beside this file. The postgres image runs /docker-entrypoint-initdb.d in
-- alphabetical order: schema.sql, then seed.sql.
copy fragrances (fragrance_id, name, description, cost, forbidden)
    from '/docker-entrypoint-initdb.d/fragrances.csv' with (format csv, header true);

-- The rows brought their own keys: the next insert must get the key after the last one.
select setval(pg_get_serial_sequence('fragrances', 'fragrance_id'), max(fragrance_id) + 1, false) from fragrances;
