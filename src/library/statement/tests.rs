use super::*;

fn contract(table: &str, columns: &str) -> Contract {
    let document = format!(
        "{{apiVersion: v3.1.0, kind: DataContract, id: t, version: 1.0.0, status: active,
           schema: [{{name: t, physicalName: {table}, properties: [{columns}]}}]}}"
    );
    Contract::parse(&document, "test", None).unwrap()
}

fn fragrances() -> Contract {
    contract(
        "shop.fragrances",
        r#"{name: id, logicalType: integer, physicalType: integer, primaryKey: true, required: true},
           {name: name, physicalName: 'na"me', logicalType: string, physicalType: varchar(150)},
           {name: cost, physicalName: price, logicalType: number, physicalType: numeric}"#,
    )
}

#[test]
fn the_statements_are_what_one_would_write_by_hand() {
    let contract = fragrances();
    let sql = TableSql::new(&contract);
    insta::assert_snapshot!(sql.read_locked.0, @r#"select k.n, t."id"::int8, t."na""me"::text, t."price"::text from unnest($1::int8[]) with ordinality as k(k0, n) join "shop"."fragrances" t on t."id" = k.k0::integer for no key update of t"#);
    insta::assert_snapshot!(sql.update.0, @r#"update "shop"."fragrances" t set "na""me" = case when v.m0 & (1::bigint << 1) <> 0 then v.c0 else t."na""me" end, "price" = case when v.m0 & (1::bigint << 2) <> 0 then v.c1::numeric else t."price" end from unnest($1::int8[], $2::text[], $3::text[], $4::int8[]) as v(k0, c0, c1, m0) where t."id" = v.k0::integer"#);
    insta::assert_snapshot!(sql.delete.0, @r#"delete from "shop"."fragrances" t using unnest($1::int8[]) as v(k0) where t."id" = v.k0::integer"#);
    let text = Text { columns: &sql.columns, key: &sql.key, rest: &sql.rest, target: &sql.target };
    insta::assert_snapshot!(text.insert(&[0, 2]), @r#"insert into "shop"."fragrances" ("id", "price") select v.c0::integer, v.c1::numeric from unnest($1::int8[], $2::text[]) as v(c0, c1) on conflict ("id") do nothing"#);
    let reads = JsonReads::new(&contract, 0).unwrap();
    insta::assert_snapshot!(reads.list.0, @r#"select row_to_json(r)::text from (select "id" as "id", "na""me" as "name", "price" as "cost" from "shop"."fragrances") r order by r."id""#);
    insta::assert_snapshot!(reads.item.0, @r#"select row_to_json(r)::text from (select "id" as "id", "na""me" as "name", "price" as "cost" from "shop"."fragrances" where "id" = $1::text::bigint) r"#);
}

#[test]
fn a_key_is_never_cut_to_fit() {
    let item = |ty: &str| {
        let columns = format!(
            "{{name: id, logicalType: string, physicalType: {ty}, primaryKey: true, required: true}}"
        );
        JsonReads::new(&contract("t", &columns), 0).unwrap().item.0.to_string()
    };
    assert!(item("varchar(3)").contains("$1::text::text"));
    assert!(item("char(3)").contains("$1::text::bpchar"));
}

#[test]
fn a_set_of_columns_holds_more_than_one_word() {
    let mut set = ColumnSet::default();
    for column in [0, 62, 63, 200] {
        assert!(!set.contains(column));
        set.insert(column);
        assert!(set.contains(column));
    }
    assert!(!set.contains(1) && !set.contains(64) && !set.contains(1000));
    assert!((0..4).all(|word| set.word(word) >= 0), "the sign bit is left alone");
}
