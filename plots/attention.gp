# Attention time against cache length: the rows that the tuner chose and the defaults.
# gnuplot -e "input='journal.csv'; output='attention.svg'" plots/attention.gp
set datafile separator comma
set datafile columnheaders
set datafile missing NaN

# Rows of the newest key, that is of the present sources. A shape is heads/kv heads/head dim@length.
newest = ''
device = ''
heads = ''
is_key(x) = strcol('kernel') eq 'gqa_attention' && strcol('status') eq 'key'
between(text, a, b) = (rest = text[strstrt(text, a) + strlen(a):*], rest[1:strstrt(rest, b) - 1])
stats input using (is_key(0) ? \
	(newest = strcol('key'), device = between(strcol('reason'), 'device=', ';'), 1) : NaN) nooutput
if (newest eq '') exit

chosen(x) = strcol('key') eq newest && strstrt(' win tie default ', ' '.strcol('status').' ') > 0
head(shape) = shape[1:strstrt(shape, '@') - 1]
length_of(shape) = real(shape[strstrt(shape, '@') + 1:*])
has(name) = strstrt(' '.heads, ' '.name.' ') > 0
add(name) = (has(name) ? 0 : (heads = heads.name.' ', 0), 1)
stats input using (chosen(0) ? add(head(strcol('shape'))) : NaN) nooutput
if (heads eq '') exit

set terminal svg size 900,420 font 'sans-serif,13' background '#ffffff' noenhanced
set output output
set title device.': GQA attention of one token, bf16 cache'
set xlabel 'cache length, tokens'
set ylabel 'time, µs'
set logscale x 2
set logscale y 10
set grid linecolor '#dddddd'
set border 3 linecolor '#555555'
set tics nomirror
set xtics 1, 2, 2.0**30
set yrange [1:*]
set key top left Left reverse title 'heads/kv heads/head dim'
array colour[4] = ['#2060a0', '#b04020', '#208050', '#806020']
at(name) = chosen(0) && head(strcol('shape')) eq name ? length_of(strcol('shape')) : NaN
# The bytes of a row over the read ceiling, where it has one.
at_ceiling(x) = column('us') * column('gbps') / column('ceiling_gbps')
plot for [i = 1:words(heads)] for [tuned = 0:1] input \
	using (at(word(heads, i))):(column(tuned ? 'us' : 'default_us')) with linespoints \
	linewidth 2 dashtype 2 - tuned linecolor rgb colour[i] pointtype 6 + tuned pointsize 0.8 \
	title word(heads, i).(tuned ? ' tuned' : ' default'), \
	for [i = 1:words(heads)] input using (at(word(heads, i))):(at_ceiling(0)) with lines \
	linewidth 1 linecolor rgb colour[i] title word(heads, i).' at the read ceiling'
