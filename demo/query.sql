-- How late each airline left New York in 2013, from data/flights.parquet and data/airlines.csv.
-- $min_flights leaves out airlines with fewer scheduled departures than that.
select
    a.name                                                            as airline,
    count(*)                                                          as flights,
    count(*) filter (f.dep_time is null)                              as cancelled,
    round(100.0 * count(*) filter (f.dep_delay > 15) / count(f.dep_delay), 1) as late_percent,
    round(avg(f.dep_delay), 1)                                        as mean_delay,
    median(f.dep_delay)                                               as median_delay,
    quantile_disc(f.dep_delay, 0.95)                                  as p95_delay,
    mode(f.dest)                                                      as busiest_destination
from flights as f
join airlines as a using (carrier)
group by a.name
having count(*) >= $min_flights
order by late_percent desc, airline
