# Run by enforcer-guest.service. Each line is on its own, whatever systemd has left on
# the console.
echo
echo "guest: up $(uname -r) after $(cut -d ' ' -f 1 /proc/uptime) s"
/usr/local/bin/enforcer-tests system @command@
code=$?
echo
echo "guest: ended with $code"
systemctl poweroff --force
