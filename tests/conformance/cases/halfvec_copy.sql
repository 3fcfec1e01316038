-- halfvec: COPY as text and as binary.
CREATE TEMP TABLE c (v halfvec);
CREATE TEMP TABLE c3 (v halfvec(3));

-- Text.
COPY c FROM STDIN;
[1,2,3]
\N
[-0.5]
 [ 1 , 2 ] 
\.
COPY c TO STDOUT;
COPY (SELECT v FROM c) TO STDOUT WITH (FORMAT csv);
COPY c TO STDOUT WITH (FORMAT binary);
TRUNCATE c;
COPY c FROM STDIN WITH (FORMAT csv);
"[1,2]"
"[ 3 ]"
\.
COPY c FROM STDIN /* [1,2 */;
[1,2
\.
COPY c FROM STDIN /* [] */;
[]
\.
COPY c FROM STDIN /* [NaN] */;
[NaN]
\.
COPY c FROM STDIN /* nothing */;

\.
COPY c FROM STDIN /* [1e999] */;
[1e999]
\.
COPY c FROM STDIN /* {1,2} */;
{1,2}
\.
COPY c FROM STDIN WITH (FORMAT csv) /* unquoted */;
[1,2]
\.
COPY c3 FROM STDIN;
[1,2]
\.
COPY c3 FROM STDIN /* right */;
[1,2,3]
\.

-- Binary: dimensions, a field that must be 0, the elements.
COPY c FROM STDIN WITH (FORMAT binary) /* three elements */;
0003 0000 3c00 4000 4200
\.
COPY c FROM STDIN WITH (FORMAT binary) /* null */;
\N
\.
COPY c3 FROM STDIN WITH (FORMAT binary) /* three elements */;
0003 0000 3c00 4000 4200
\.
COPY c3 FROM STDIN WITH (FORMAT binary) /* two elements for three */;
0002 0000 3c00 4000
\.
COPY c FROM STDIN WITH (FORMAT binary) /* no dimensions */;
0000 0000 
\.
COPY c FROM STDIN WITH (FORMAT binary) /* negative dimensions */;
ffff 0000 3c00
\.
COPY c FROM STDIN WITH (FORMAT binary) /* too many dimensions */;
3e81 0000 3c00
\.
COPY c FROM STDIN WITH (FORMAT binary) /* most dimensions, too few bytes */;
3e80 0000 3c00
\.
COPY c FROM STDIN WITH (FORMAT binary) /* too few bytes */;
0003 0000 3c00 4000
\.
COPY c FROM STDIN WITH (FORMAT binary) /* part of an element */;
0002 0000 3c00 40
\.
COPY c FROM STDIN WITH (FORMAT binary) /* too many bytes */;
0002 0000 3c00 4000 4200
\.
COPY c FROM STDIN WITH (FORMAT binary) /* one byte too many */;
0001 0000 3c00 00
\.
COPY c FROM STDIN WITH (FORMAT binary) /* unused is 1 */;
0001 0001 3c00
\.
COPY c FROM STDIN WITH (FORMAT binary) /* unused is -1 */;
0001 ffff 3c00
\.
COPY c FROM STDIN WITH (FORMAT binary) /* no unused */;
0001
\.
COPY c FROM STDIN WITH (FORMAT binary) /* one byte */;
00
\.
COPY c FROM STDIN WITH (FORMAT binary) /* no bytes */;

\.
COPY c FROM STDIN WITH (FORMAT binary) /* NaN */;
0001 0000 7e00
\.
COPY c FROM STDIN WITH (FORMAT binary) /* infinity */;
0002 0000 3c00 7c00
\.
COPY c FROM STDIN WITH (FORMAT binary) /* negative infinity */;
0001 0000 fc00
\.
COPY c FROM STDIN WITH (FORMAT binary) /* largest dimensions */;
7fff 0000 3c00
\.
COPY c FROM STDIN WITH (FORMAT binary) /* unused before dimensions */;
0000 0001 
\.
COPY c FROM STDIN WITH (FORMAT binary) /* NaN with another payload */;
0001 0000 ffff
\.
COPY c FROM STDIN WITH (FORMAT binary) /* negative zero and subnormal */;
0002 0000 8000 0001
\.
SELECT * FROM c;
COPY c TO STDOUT WITH (FORMAT binary) /* what was read */;
SELECT * FROM c3;
