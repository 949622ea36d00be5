# Best found over optimum against the evaluations allowed, as a share of the configurations: median of the seeds, and the
# 90th percentile, dashed.
# gnuplot -e "input='replay.csv'; output='replay.svg'" plots/replay.gp
set datafile separator comma
set datafile columnheaders

landscapes = 'convolution_A4000 dedispersion_W6600'
strategies = 'guided local evolve random'
colour(i) = word('#2060a0 #d06020 #40a060 #909090', i)

set terminal svg size 960,420 font 'sans-serif,13' background '#ffffff' noenhanced
set output output
set multiplot layout 1,2
set logscale x
set xtics (0.5, 1, 2.5, 5, 10) nomirror
set ytics nomirror
set border 3 linecolor '#555555'
set grid ytics linecolor '#dddddd'
set xlabel 'budget, % of the configurations'
set ylabel 'best found / optimum'
set key top right
do for [l = 1:2] {
	landscape = word(landscapes, l)
	set title landscape
	chosen(s) = strcol('landscape') eq landscape && strcol('strategy') eq word(strategies, s)
	plot for [s = 1:4] input using 'budget_percent':(chosen(s) ? column('median') : NaN) with linespoints \
			pointtype 7 pointsize 0.5 linewidth 2 linecolor rgb colour(s) title word(strategies, s), \
		for [s = 1:4] input using 'budget_percent':(chosen(s) ? column('p90') : NaN) with lines dashtype 2 \
			linecolor rgb colour(s) notitle
}
unset multiplot
