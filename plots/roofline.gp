# Bandwidth against bytes of a launch, cold, inside a graph: the roof is the read ceiling and, for few bytes, a launch that does
# nothing. input: kernel, bytes, GB/s, ceiling, us of an empty launch
set datafile separator tab
set datafile missing 'NaN'
stats input using 4 nooutput
ceiling = STATS_max
empty = NaN
stats input using (empty = column(5) > 0 ? column(5) : empty, 1) nooutput
names = ''
add(name) = (strstrt(' '.names, ' '.name.' ') ? 0 : (names = names.name.' ', 0), 1)
stats input using (add(strcol(1))) nooutput

set terminal svg size 900,440 font 'sans-serif,13' background '#ffffff' noenhanced
set output output
set title device.': bandwidth of one launch, cold, inside a graph'
set xlabel 'bytes that a launch must move'
set ylabel 'GB/s'
set logscale xy 10
set format x '10^%T'
set grid linecolor '#dddddd'
set border 3 linecolor '#555555'
set tics nomirror
set key bottom right
set yrange [*:2 * ceiling]
array colour[6] = ['#2060a0', '#b04020', '#208050', '#806020', '#703080', '#505050']
roof(bytes) = empty == empty ? 1 / (1 / ceiling + 1e3 * empty / bytes) : ceiling
plot for [i = 1:words(names)] input using (strcol(1) eq word(names, i) ? column(2) : NaN):3 with points pointtype 7 pointsize 0.7 \
	linecolor rgb colour[(i - 1) % 6 + 1] title word(names, i), \
	roof(x) with lines linewidth 2 linecolor '#555555' title empty == empty ? 'read ceiling after an empty launch' : 'read ceiling'
