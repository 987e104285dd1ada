# shellcheck shell=sh
# Says at log-in where notebooks are kept. Only to a person at a terminal: any output would break scp and rsync. Once
# for each log-in: the variable goes along into tmux and sub-shells, and not into su -l.
case $- in
*i*)
	if [ -t 1 ] && [ -z "${DSVM_AGENT_GREETED-}" ] && [ ! -e "${HOME-}/.hushlogin" ]; then
		DSVM_AGENT_GREETED=1
		export DSVM_AGENT_GREETED
		if [ -x /usr/bin/dsvm-agent ]; then
			/usr/bin/dsvm-agent greeting 2>/dev/null || :
		fi
	fi
	;;
esac
