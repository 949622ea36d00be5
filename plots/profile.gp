# One token: when each launch of the replayed step ran, and what bandwidth each operation reached against what its launches move.
# input: operation, its number, us at which a launch began, was past its wait and had stored all, bytes, GB/s, ceiling, model
set datafile separator tab
set datafile missing 'NaN'
stats input using 5 nooutput
end = STATS_max
stats input using 8 nooutput
ceiling = STATS_max
stats input using 2 nooutput
n = int(STATS_max)
array colour[8] = ['#2060a0', '#b04020', '#208050', '#806020', '#703080', '#505050', '#2090a0', '#a09020']
array name[n]
stats input using (name[int(column(2))] = strcol(1), model = strcol(9), 1) nooutput

set terminal svg size 1100,760 font 'sans-serif,13' background '#ffffff' noenhanced
set output output
set multiplot layout 2,1
set border 3 linecolor '#555555'
set tics nomirror
set grid linecolor '#dddddd'

set title device.', '.model.': one token, launch by launch'
set xlabel 'µs; pale: begun, but waiting for what the launch before stores'
set xrange [0:end]
set yrange [n + 0.6:0.4]
unset key
set ytics ()
do for [i = 1:n] {
	set ytics add (name[i] i)
}
of(i, x) = column(2) == i ? x : NaN
set style fill solid 1 noborder
plot for [i = 1:n] input using (of(i, column(3))):2:3:4:(column(2) - 0.3):(column(2) + 0.3) with boxxyerror \
	fillcolor rgb '#cccccc', \
	for [i = 1:n] input using (of(i, column(4))):2:4:5:(column(2) - 0.3):(column(2) + 0.3) with boxxyerror \
	fillcolor rgb colour[(i - 1) % 8 + 1]

set title 'bandwidth of its operations'
set xlabel 'bytes that a launch must move'
set ylabel 'GB/s'
set logscale xy 10
set format x '10^%T'
set xrange [*:*]
set yrange [*:2 * ceiling]
unset ytics
set ytics nomirror
set key outside right top Left reverse
plot for [i = 1:n] input using (of(i, column(6))):7 with points pointtype 7 pointsize 0.7 \
	linecolor rgb colour[(i - 1) % 8 + 1] title name[i], \
	ceiling with lines linewidth 2 linecolor '#555555' title 'read ceiling'
unset multiplot
