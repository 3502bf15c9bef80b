# Run by enforcer-guest.service. The empty lines end any line of systemd on the console.
echo
echo "guest: up $(uname -r) after $(cut -d ' ' -f 1 /proc/uptime) s"
/usr/local/bin/enforcer-tests system @command@
code=$?
echo
echo "guest: ended with $code"
systemctl poweroff --force
