# Builds the ZedBoard's bitstream, hardware handoff and platform by Vivado, from values that synth/vivado.py hands over out of
# zedboard.json:
#   vivado -mode batch -source build.tcl -tclargs NAME PART BOARD_PART CLOCK_HZ CRYSTAL_HZ CONFIG REGISTER_BASE REGISTER_BYTES HW OUT JOBS
lassign $argv name part board_part clock_hz crystal_hz config register_base register_bytes hw out jobs

file mkdir $out
create_project -force $name $out/project -part $part
if {[lsearch [get_board_parts -quiet] $board_part] >= 0} {
  set_property board_part $board_part [current_project]
}

add_files [concat $hw/rtl/jb_pkg.sv [lsearch -all -inline -not [glob $hw/rtl/jb_*.sv] */jb_pkg.sv] \
  $hw/synth/zedboard/jb_accelerator.v]
set_property file_type SystemVerilog [get_files *.sv]
add_files -fileset constrs_1 $hw/synth/zedboard/zedboard.xdc
update_compile_order -fileset sources_1

# ---- the system: processing system, accelerator, an interconnect to its registers
create_bd_design $name
set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:processing_system7 ps7]
if {[get_property board_part [current_project]] ne ""} {
  apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 \
    -config {make_external "FIXED_IO, DDR" apply_board_preset "1"} $ps
} else {
  # Without the board's files: DDR3 and MIO of the ZedBoard as far as the fabric is concerned come from the boot loader.
  apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 -config {make_external "FIXED_IO, DDR"} $ps
}
set_property -dict [list \
  CONFIG.PCW_CRYSTAL_PERIPHERAL_FREQMHZ [format %.6f [expr {$crystal_hz / 1e6}]] \
  CONFIG.PCW_EN_CLK0_PORT 1 \
  CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ [format %.6f [expr {$clock_hz / 1e6}]] \
  CONFIG.PCW_USE_M_AXI_GP0 1 \
  CONFIG.PCW_USE_S_AXI_HP0 1 CONFIG.PCW_S_AXI_HP0_DATA_WIDTH 64 \
  CONFIG.PCW_USE_S_AXI_HP1 1 CONFIG.PCW_S_AXI_HP1_DATA_WIDTH 64 \
  CONFIG.PCW_USE_FABRIC_INTERRUPT 1 CONFIG.PCW_IRQ_F2P_INTR 1] $ps

set accelerator [create_bd_cell -type module -reference jb_accelerator accelerator]
set_property -dict [list CONFIG.Config $config CONFIG.ClockHz $clock_hz] $accelerator
set registers [create_bd_cell -type ip -vlnv xilinx.com:ip:axi_interconnect registers]
set_property -dict [list CONFIG.NUM_SI 1 CONFIG.NUM_MI 1] $registers
set reset [create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset]

set clock [get_bd_pins ps7/FCLK_CLK0]
foreach pin {ps7/M_AXI_GP0_ACLK ps7/S_AXI_HP0_ACLK ps7/S_AXI_HP1_ACLK accelerator/clk_i registers/ACLK registers/S00_ACLK \
  registers/M00_ACLK reset/slowest_sync_clk} {
  connect_bd_net $clock [get_bd_pins $pin]
}
connect_bd_net [get_bd_pins ps7/FCLK_RESET0_N] [get_bd_pins reset/ext_reset_in]
connect_bd_net [get_bd_pins reset/interconnect_aresetn] [get_bd_pins registers/ARESETN]
foreach pin {registers/S00_ARESETN registers/M00_ARESETN accelerator/rst_ni} {
  connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins $pin]
}
connect_bd_intf_net [get_bd_intf_pins ps7/M_AXI_GP0] [get_bd_intf_pins registers/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins registers/M00_AXI] [get_bd_intf_pins accelerator/s_axi]
connect_bd_intf_net [get_bd_intf_pins accelerator/m_axi_hp0] [get_bd_intf_pins ps7/S_AXI_HP0]
connect_bd_intf_net [get_bd_intf_pins accelerator/m_axi_hp1] [get_bd_intf_pins ps7/S_AXI_HP1]
connect_bd_net [get_bd_pins accelerator/irq_o] [get_bd_pins ps7/IRQ_F2P]

assign_bd_address -offset $register_base -range $register_bytes [get_bd_addr_segs accelerator/s_axi/*]
assign_bd_address [get_bd_addr_segs ps7/S_AXI_HP0/HP0_DDR_LOWOCM]
assign_bd_address [get_bd_addr_segs ps7/S_AXI_HP1/HP1_DDR_LOWOCM]
validate_bd_design
save_bd_design

make_wrapper -files [get_files $name.bd] -top -import
set_property top ${name}_wrapper [current_fileset]

# ---- build
set_property strategy Flow_PerfOptimized_high [get_runs synth_1]
set_property strategy Performance_ExplorePostRoutePhysOpt [get_runs impl_1]
launch_runs impl_1 -to_step write_bitstream -jobs $jobs
wait_on_run impl_1
if {[get_property PROGRESS [get_runs impl_1]] ne "100%"} {
  puts stderr "the implementation failed: see $out/project/$name.runs/impl_1/runme.log"
  exit 1
}
open_run impl_1
report_utilization -hierarchical -file $out/utilisation.rpt
report_timing_summary -file $out/timing.rpt
set slack [get_property SLACK [get_timing_paths -delay_type max]]
if {$slack < 0} {
  puts stderr "the clock is not met: worst slack $slack ns (see $out/timing.rpt); no bitstream is kept"
  exit 1
}
write_bitstream -force $out/$name.bit
file copy -force [lindex [glob -nocomplain $out/project/$name.gen/sources_1/bd/$name/hw_handoff/$name.hwh \
  $out/project/$name.srcs/sources_1/bd/$name/hw_handoff/$name.hwh] 0] $out/$name.hwh
write_hw_platform -fixed -force -include_bit -file $out/$name.xsa
puts "wrote $out/$name.bit, .hwh, .xsa; worst slack $slack ns"
