-- SPDX-License-Identifier: MIT
-- The demonstration's SQLite job: load a table of orders into memory, index it, ask. Run where orders.csv lies.
.mode csv
.import orders.csv orders
create index by_customer on orders(customer);
create index by_day on orders(day, country);
select country, count(*), sum(cents * quantity) from orders group by country order by 3 desc;
select customer, count(*), sum(cents * quantity) from orders group by customer order by 3 desc limit 10;
select substr(day, 1, 7) as month, country, count(*), avg(cents) from orders
	group by month, country order by month, country;
select product, max(cents), sum(quantity) from orders
	where note like '%license%' group by product order by 3 desc, 1 limit 10;
