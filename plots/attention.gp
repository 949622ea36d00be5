# Attention time against cache length: the rows that the tuner chose, the defaults, the best peer; where one row ends and the
# next begins. input: heads, length, us, us of the default, us at the read ceiling; peers: heads, length, us; ranges: heads, length
set datafile separator tab
set datafile missing 'NaN'
heads = ''
add(name) = (strstrt(' '.heads, ' '.name.' ') ? 0 : (heads = heads.name.' ', 0), 1)
stats input using (add(strcol(1))) nooutput
n_peers = int(system("wc -l <'".peers."'"))
n_ranges = int(system("wc -l <'".ranges."'"))

set terminal svg size 1000,440 font 'sans-serif,13' background '#ffffff' noenhanced
set output output
set title device.': GQA attention of one token, bf16 cache'
set xlabel 'cache length, tokens'
set ylabel 'time, µs'
set logscale x 2
set logscale y 10
set grid linecolor '#dddddd'
set border 3 linecolor '#555555'
set tics nomirror
set xtics 1, 4, 2.0**30
set yrange [1:*]
set key outside right top Left reverse title 'heads/kv heads/head dim'
array colour[4] = ['#2060a0', '#b04020', '#208050', '#806020']
of(name, column) = strcol(1) eq name ? column : NaN
plot for [i = 1:words(heads)] for [tuned = 0:1] input \
	using 2:(of(word(heads, i), column(4 - tuned))) with linespoints \
	linewidth 2 dashtype 2 - tuned linecolor rgb colour[i] pointtype 6 + tuned pointsize 0.8 \
	title word(heads, i).(tuned ? ' tuned' : ' default'), \
	for [i = 1:words(heads)] input using 2:(of(word(heads, i), column(5))) with lines \
	linewidth 1 linecolor rgb colour[i] title word(heads, i).' at the read ceiling', \
	for [i = 1:(n_peers ? words(heads) : 0)] peers using 2:(of(word(heads, i), column(3))) with points \
	linewidth 2 linecolor rgb colour[i] pointtype 2 pointsize 1 title word(heads, i).' best peer', \
	for [i = 1:(n_ranges ? words(heads) : 0)] ranges using 2:(of(word(heads, i), 1.0 + 0.2 * i)) with points \
	linecolor rgb colour[i] pointtype 9 pointsize 1.2 title word(heads, i).' next tuned row'
