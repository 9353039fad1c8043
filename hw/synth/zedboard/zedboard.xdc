# The clock comes from the processing system (its period from the block design, or from openxc7.py), and no pin of the fabric is used: all
# traffic goes through the processing system. What is left to say are the chip's supplies.
set_property CFGBVS VCCO [current_design]
set_property CONFIG_VOLTAGE 3.3 [current_design]
